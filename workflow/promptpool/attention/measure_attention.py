"""Measures where the last token looks: the share of its attention that each span of a prompted text gets, by layer.

The paper's claim is about the last token, because its state becomes the embedding. Only this stage loads the model with
eager attention, and always on composed ids: spans are those of `templates`.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ..artifacts.files import atomic_path, write_sidecar
from ..errors import PromptpoolError
from ..models.backbone import load_backbone
from ..models.checkpoint import Checkpoint
from ..models.precision import in_words, processor
from ..templates import Composer, Template
from ..text.function_words import read_function_words
from ..variants import split_adapter_id
from .rows import last_rows
from .spans import MEAN, SPANS, Labelled, entropy, label_tokens, span_shares
from .table import ATTENTION_SCHEMA


def measure_attention(
    out: str | Path,
    *,
    checkpoint: Checkpoint,
    model_name: str,
    adapter_id: str,
    prompts: Mapping[str, str],
    texts: Sequence[str],
    spec: Mapping,
) -> None:
    """Measures one checkpoint under every prompt; writes a parquet of attention.table's SCHEMA and its sidecar.

    model_name, adapter_id: the study's names for them, adapter_id `base` or `name@step`. prompts: name -> template.
    spec: `sentence` (text_id 0, an example that no mean includes), `samples` (how many of the texts are kept token by
    token, like the sentence), `layers` and `heads` (see attention_of), `function_words` (a file, None for English),
    `max_text_tokens`, `text_normalisation`.
    Texts without a token are left out, with a warning. Raises PromptpoolError if none is left, if the sentence has no
    token, and as last_rows does.
    """
    started = time.time()
    name, step = split_adapter_id(adapter_id)
    words = read_function_words(spec["function_words"])
    backbone = load_backbone(
        checkpoint.model, checkpoint.revision, checkpoint.adapter, device=checkpoint.device, dtype=checkpoint.dtype,
        attention="eager", causal=checkpoint.causal,
    )  # fmt: skip
    composer = Composer(backbone.tokenizer, spec["max_text_tokens"], spec["text_normalisation"])
    measured = [spec["sentence"], *_with_tokens(composer, texts)]
    if not composer.texts(measured[:1])[0]:
        raise PromptpoolError(f"attention.sentence: {spec['sentence']!r} has no token; write another")
    if len(measured) == 1:
        raise PromptpoolError("attention.task: none of the texts drawn has a token; name another task")
    place = {"model": model_name, "adapter": name, "step": step}
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, ATTENTION_SCHEMA, compression="zstd") as writer:
        for prompt, template in prompts.items():
            parsed = Template.parse(prompt, template)
            labelled = [label_tokens(composer, parsed, text, words) for text in measured]
            description = f"attention of {adapter_id}, prompt {prompt}"
            shown = measured[: spec["samples"] + 1]
            with backbone.precision.products(backbone.device):
                found = attention_of(backbone.model, labelled, spec["layers"], spec["heads"], len(shown), description)
            writer.write_table(as_table(found, labelled, shown, {**place, "prompt": prompt}))
    write_sidecar(
        out,
        inputs=checkpoint.files,
        spec={
            "model": checkpoint.model,
            "revision": checkpoint.revision,
            "adapter": adapter_id,
            "prompts": dict(prompts),
            **({} if checkpoint.causal else {"causal": False}),
            **spec,
        },
        started=started,
        texts=len(measured) - 1,
        device=str(backbone.device),
        dtype=str(next(backbone.model.parameters()).dtype),
        precision=in_words(backbone.precision),
        processor=processor(backbone.device),
        tuning_kept=backbone.kept,
    )


def _with_tokens(composer: Composer, texts: Sequence[str]) -> list[str]:
    kept = [text for text, ids in zip(texts, composer.texts(texts), strict=True) if ids]
    if len(kept) < len(texts):
        print(f"Warning: attention: {len(texts) - len(kept)} texts without a token are left out", file=sys.stderr)
    return kept


def attention_of(
    model,
    labelled: Sequence[Labelled],
    layers: Sequence[int] | str,
    heads: bool = False,
    shown: int = 0,
    told: str | None = None,
) -> dict[str, Sequence]:
    """The last token's attention in each text, layer and head, as columns of equal length.

    model: eval mode, eager attention. layers: `all` or attention layers by number. heads: whether each head is included
    beside their mean. shown: how many of the first texts are kept token by token. `told`: the progress bar's
    description, None for no bar.
    Returns layer, head (MEAN for the mean over heads), text_id (all int), SPANS and entropy (float32; the entropy of
    the mean row if head is MEAN), length (tokens), ordered by layer, head and text; and `weights`, a list with the mean
    rows [tokens] float32 of the shown texts, None for others.
    """
    rows = []
    sequences = [one.ids for one in labelled]
    for text_id, found in tqdm(last_rows(model, sequences, layers), told, len(sequences), disable=told is None):
        for layer, own in found.items():
            mean = own.mean(0, keepdims=True, dtype=np.float64)
            every = np.concatenate([mean, own]) if heads else mean
            values = np.column_stack([span_shares(every, labelled[text_id].spans), entropy(every)]).astype(np.float32)
            for head in range(len(every)):
                kept = mean[0].astype(np.float32) if head == 0 and text_id < shown else None
                rows.append((layer, head - 1 if head else MEAN, text_id, values[head], len(mean[0]), kept))
    rows.sort(key=lambda row: row[:3])
    layer, head, text_id, values, length, weights = zip(*rows, strict=True)
    columns = np.array(values).T
    return {
        "layer": np.array(layer), "head": np.array(head), "text_id": np.array(text_id),
        **dict(zip((*SPANS, "entropy"), columns, strict=True)), "length": np.array(length), "weights": list(weights),
    }  # fmt: skip


def as_table(
    found: Mapping[str, Sequence], labelled: Sequence[Labelled], texts: Sequence[str], place: Mapping[str, object]
) -> pa.Table:
    """attention_of's columns in SCHEMA. texts: those shown; place: model, adapter, step and prompt."""
    kept = [
        None if row is None else int(text_id) for text_id, row in zip(found["text_id"], found["weights"], strict=True)
    ]
    columns = {
        **found,
        "text": [None if one is None else texts[one] for one in kept],
        "tokens": [None if one is None else labelled[one].tokens for one in kept],
        "spans": [None if one is None else labelled[one].spans for one in kept],
        **{key: [value] * len(kept) for key, value in place.items()},
    }
    return pa.table(
        {field.name: pa.array(columns[field.name], field.type) for field in ATTENTION_SCHEMA}, schema=ATTENTION_SCHEMA
    )
