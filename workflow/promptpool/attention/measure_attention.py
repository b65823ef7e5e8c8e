"""Measures where the last token looks: the share of its attention that each span of a prompted text gets, by layer.

The paper's claim is about the last token, because its state becomes the embedding. Only this stage loads the model with
eager attention, and always on composed ids: spans are those of `templates`.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm
from transformers import PreTrainedModel

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

AttentionRows = Iterator[tuple[int, dict[int, np.ndarray]]]
AttentionOf = Callable[[PreTrainedModel, Sequence[Sequence[int]], Sequence[int] | str], AttentionRows]


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
    token, like the sentence), `layers` (see last_rows), `heads` (see share_columns), `function_words` (a file, None for
    English), `max_text_tokens`, `text_normalisation`.
    Texts without a token are left out, with a warning. Raises PromptpoolError if none is left, if the sentence has no
    token, and as last_rows does.
    """
    write_rows(
        out, attention_rows, checkpoint=checkpoint, model_name=model_name, adapter_id=adapter_id, prompts=prompts,
        texts=texts, spec=spec, action="attention",
    )  # fmt: skip


def write_rows(
    out: str | Path,
    rows_of: AttentionOf,
    *,
    checkpoint: Checkpoint,
    model_name: str,
    adapter_id: str,
    prompts: Mapping[str, str],
    texts: Sequence[str],
    spec: Mapping,
    action: str,
) -> None:
    """What measure_attention says, of any rows that share 1 among the tokens: `rows_of` computes them, `action` names
    them to the progress bar.
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
            description = f"{action} of {adapter_id}, prompt {prompt}"
            shown = measured[: spec["samples"] + 1]
            with backbone.precision.products(backbone.device):
                rows = rows_of(backbone.model, [one.ids for one in labelled], spec["layers"])
                found = share_columns(rows, labelled, spec["heads"], len(shown), description)
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


def attention_rows(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], layers: Sequence[int] | str
) -> AttentionRows:
    """last_rows with the mean over heads in front of each layer's: [1 + heads, tokens] float64."""
    for text_id, found in last_rows(model, sequences, layers):
        yield (
            text_id,
            {k: np.concatenate([own.mean(0, keepdims=True, dtype=np.float64), own]) for k, own in found.items()},
        )


def share_columns(
    rows: AttentionRows, labelled: Sequence[Labelled], heads: bool = False, shown: int = 0, told: str | None = None
) -> dict[str, Sequence]:
    """The spans' shares of each text, layer and head, as columns of equal length.

    rows: of each text of `labelled`, by number: layer -> [1 + heads, tokens], first that of all heads together. heads:
    whether single heads are included. shown: how many of the first texts are kept token by token. `told`: the progress
    bar's description, None for no bar.
    Returns layer, head (MEAN for all heads together), text_id (all int), SPANS and entropy (float32), length (tokens),
    ordered by layer, head and text; and `weights`, a list with the rows [tokens] float32 of all heads together of the
    shown texts, None for others.
    """
    found = []
    for text_id, of_layers in tqdm(rows, told, len(labelled), disable=told is None):
        for layer, own in of_layers.items():
            every = own if heads else own[:1]
            values = np.column_stack([span_shares(every, labelled[text_id].spans), entropy(every)]).astype(np.float32)
            for head in range(len(every)):
                kept = own[0].astype(np.float32) if head == 0 and text_id < shown else None
                found.append((layer, head - 1 if head else MEAN, text_id, values[head], len(own[0]), kept))
    found.sort(key=lambda row: row[:3])
    layer, head, text_id, values, length, weights = zip(*found, strict=True)
    columns = np.array(values).T
    return {
        "layer": np.array(layer), "head": np.array(head), "text_id": np.array(text_id),
        **dict(zip((*SPANS, "entropy"), columns, strict=True)), "length": np.array(length), "weights": list(weights),
    }  # fmt: skip


def as_table(
    found: Mapping[str, Sequence], labelled: Sequence[Labelled], texts: Sequence[str], place: Mapping[str, object]
) -> pa.Table:
    """share_columns's columns in SCHEMA. texts: those shown; place: model, adapter, step and prompt."""
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
