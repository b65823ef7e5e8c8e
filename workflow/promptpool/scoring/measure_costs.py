"""The costs stage: the floating-point operations that it takes to embed a text by one variant.

They are computed, not timed, because seconds depend on the machine and the engine shares work between variants. They
follow from the model's shape and the tokens that the variant alone would read. Multiplications and additions count
separately, as is usual (Kaplan et al. 2020, section 2.1).
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig

from ..artifacts.files import write_table
from ..embedding.split_texts import split_texts
from ..hub.safe_loading import NO_CODE
from ..models.checkpoint import Checkpoint
from ..models.decoder import decoder_layers, require_decoder, text_decoder
from ..tasks.build_task import sample_texts
from ..templates import Composer, Template
from ..variants import layer_number

TEXTS_SAMPLED = 1000  # texts of a task whose tokens are counted; their mean is within a few per cent of all texts'


def measure_costs(
    out: str,
    *,
    name: str,
    checkpoint: Checkpoint,
    texts: Mapping[str, str],
    spec: Mapping,
) -> None:
    """Writes a table: model, prompt, eos, layer, number, depth, tokens, flops, texts, hidden.

    One row for each prompt, with and without EOS, and layer. number: the layer's index; depth: how many the model has;
    tokens and flops: per text, the mean over `texts` sampled texts of each task, then over tasks. The cost of an
    ensemble is the sum over its prompts. hidden: the size of a hidden state. texts: task -> its texts' file; spec:
    `Study.costs_spec`.
    """
    started = time.time()
    model, revision = checkpoint.model, checkpoint.revision
    shape = Shape.of(model, revision)
    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, **NO_CODE)
    composer = Composer(tokenizer, spec["max_text_tokens"], spec["text_normalisation"])
    samples = {task: sample_texts(path, TEXTS_SAMPLED, spec["seed"]) for task, path in texts.items()}
    chunked = spec.get("long_texts", {})
    lengths = {task: lengths_read(composer, sample, chunked.get(task)) for task, sample in samples.items()}
    rows = []
    for prompt, template in spec["prompts"].items():
        for eos in (False, True):
            read = {
                task: tokens_read(composer, Template.parse(prompt, template), own, eos) for task, own in lengths.items()
            }
            for layer in spec["layers"]:
                number = layer_number(layer, shape.depth)
                # A text in chunks is read as several: the sum over chunks, per text.
                flops = [
                    shape.flops(counts, number, checkpoint.causal).sum() / len(samples[task])
                    for task, counts in read.items()
                ]
                tokens = [counts.sum() / len(samples[task]) for task, counts in read.items()]
                rows.append((name, prompt, eos, layer, number, shape.depth, np.mean(tokens), np.mean(flops)))
    columns = ["model", "prompt", "eos", "layer", "number", "depth", "tokens", "flops"]
    table = pd.DataFrame(rows, columns=columns)
    together = [
        table[table["prompt"].isin(list(members))]
        .groupby(["model", "eos", "layer", "number", "depth"], as_index=False)[["tokens", "flops"]]
        .sum()
        .assign(prompt=ensemble)[columns]
        for ensemble, members in spec["ensembles"].items()
    ]
    table = pd.concat([table, *together], ignore_index=True)
    table["texts"] = sum(map(len, samples.values()))
    table["hidden"] = shape.hidden
    write_table(out, table, inputs=list(texts.values()), spec={"model": model, "revision": revision}, started=started)


def lengths_read(composer: Composer, texts: Sequence[str], chunked: Mapping | None = None) -> np.ndarray:
    """Tokens of each text after cutting, int [n]; of each chunk, int [chunks], if the task has chunks (`overlap`)."""
    if chunked is None:
        return np.array([len(ids) for ids in composer.texts(texts)])
    return np.array([count for own in split_texts(composer, texts, chunked["overlap"]).tokens for count in own])


def tokens_read(composer: Composer, template: Template, texts: np.ndarray, eos: bool) -> np.ndarray:
    """Tokens of each prompted text, int [n]. texts: the texts' own tokens, after cutting."""
    fixed = len(composer.bos_ids) + len(composer.piece(template.prefix)) + len(composer.piece(template.suffix)) + eos
    if template.middle is None:
        return texts + fixed
    return 2 * texts + fixed + len(composer.piece(template.middle))


class Shape:
    """How much a decoder computes per token. parameters: of each layer's matrices; width: its attention's, all heads
    together. The embeddings are only looked up, and the LM head does not run. hidden: the size of a hidden state.
    """

    def __init__(self, parameters: Sequence[int], width: float, hidden: int = 0):
        self.parameters, self.width, self.hidden = np.array(parameters, dtype=float), width, hidden

    @property
    def depth(self) -> int:
        return len(self.parameters)

    @classmethod
    def of(cls, model: str, revision: str | None = None) -> "Shape":
        """Reads a model's config, no weights. All experts of a mixture count."""
        config = AutoConfig.from_pretrained(model, revision=revision, **NO_CODE)
        require_decoder(config, model)
        with torch.device("meta"):
            made = text_decoder(AutoModel.from_config(config))
        layers = decoder_layers(made)
        return cls(
            [sum(p.numel() for p in layer.parameters() if p.dim() > 1) for layer in layers],
            width_of(made.config),
            made.config.hidden_size,
        )

    def flops(self, tokens: np.ndarray, number: int, causal: bool = True) -> np.ndarray:
        """Operations for texts of so many tokens up to layer `number`: 2 per token and parameter, and 4 per key, query
        and unit of width for scores and sums, over the keys that a query sees: if not `causal`, all of them.
        """
        tokens = np.asarray(tokens, dtype=float)
        keys = tokens * (tokens + 1) / 2 if causal else tokens**2
        return 2 * self.parameters[:number].sum() * tokens + 4 * self.width * keys * number


def width_of(config: PreTrainedConfig) -> float:
    """The width of a decoder's attention, all heads together: 0 without attention, the mean where layers differ."""
    widths = []
    for layer in config.per_layer_config if config.is_heterogeneous else [config]:
        heads = getattr(layer, "num_attention_heads", None) or 0
        widths.append(heads * (getattr(layer, "head_dim", None) or layer.hidden_size // max(heads, 1)))
    return float(np.mean(widths))
