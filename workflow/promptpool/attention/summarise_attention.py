"""Summarises attention: each span's share, and how fine-tuning changed it, with paired intervals over texts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import write_sidecar, write_table
from ..errors import PromptpoolError
from ..statistics.bootstrap import replicates
from ..statistics.estimates import LEVEL, Estimate, holm
from ..statistics.student import quantile, two_sided
from .spans import MEAN, SPANS
from .table import CHECKPOINT, join, read_measured

# What is summarised: the spans; `prompt`, prefix and suffix together; `content_beyond_sink`, the content words' part of
# everything except the sink (a sink that grows or shrinks changes all other shares); entropy.
MEASURES = (*SPANS, "prompt", "content_beyond_sink", "entropy")
SUMMARY_COLUMNS = [
    *CHECKPOINT, "layer", "head", "span", "share", "share_low", "share_high", "estimate", "low", "high", "p", "p_holm",
    "n",
]  # fmt: skip
NO_ESTIMATE = Estimate(*[float("nan")] * 4, 0)


@dataclass(frozen=True)
class Cube:
    """The measurements of one checkpoint and prompt: values [layers, heads, texts, measures] float64, and the names
    of the first three. If there are several layers, their mean counts as another one.
    """

    layers: list[int]
    heads: list[int]
    texts: list[int]
    values: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Cube":
        """table: read_measured's rows of one checkpoint and prompt."""
        table = table.sort_values(["layer", "head", "text_id"])
        layers, heads, texts = (sorted(table[key].unique().tolist()) for key in ("layer", "head", "text_id"))
        held = table.astype(dict.fromkeys(SPANS, "float64"))
        held["prompt"] = held["prefix"] + held["suffix"]
        held["content_beyond_sink"] = held["content"] / np.maximum(1 - held["sink"], 1e-12)
        values = held[list(MEASURES)].to_numpy(dtype=float).reshape(len(layers), len(heads), len(texts), len(MEASURES))
        if len(layers) > 1:
            layers, values = [MEAN, *layers], np.concatenate([values.mean(0, keepdims=True), values])
        return cls(layers, heads, texts, values)

    def compares(self, other: "Cube") -> bool:
        """Whether both have the same layers, heads and texts."""
        return (self.layers, self.heads, self.texts) == (other.layers, other.heads, other.texts)


def summarise_attention(parts: Sequence[str | Path], table_out: str | Path, summary_out: str | Path) -> None:
    """Writes measure_attention's parts as one table, and its summary (`summary_table`), with sidecars."""
    started = time.time()
    join(parts, table_out)
    write_sidecar(table_out, inputs=parts, started=started)
    summary = summary_table(parts)
    write_table(summary_out, summary, inputs=parts, started=started)


def summary_table(parts: Sequence[str | Path]) -> pd.DataFrame:
    """A row for each checkpoint, prompt, layer, head and span: its mean share, and the difference to base.

    parts: parquets of one model and adapter each, with `base` for each model. Columns SUMMARY_COLUMNS. layer and head
    may be MEAN, over those measured. span is one of MEASURES; one that a prompt lacks has no row. share, share_low,
    share_high: the mean over texts with its 95 % interval (shares of 1, entropy in nats). estimate, low, high, p:
    tuned minus base, text by text, NaN in base's own rows. p_holm: Holm's adjustment over all differences of the head
    means, and separately over all of single heads. n: texts.
    Standard errors are the bootstrap's over texts (resampling.replicates, the same draws everywhere). Intervals and p
    use the t distribution; with one text they are NaN. Only one part's rows are in memory at a time, with the bases'.
    Raises PromptpoolError for an adapter without its base, or measured on other texts.
    """
    bases: dict[tuple[str, str], Cube] = {}
    for part in parts:
        for (model, *_, prompt), group in read_measured(part, "base").groupby(CHECKPOINT, sort=False):
            bases[model, prompt] = Cube.of(group)
    rows: list[dict] = []
    for part in parts:
        table = read_measured(part)
        for (model, adapter, step, prompt), group in table.groupby(CHECKPOINT, sort=False):
            if (model, prompt) not in bases:
                raise PromptpoolError(f"attention: {part}: no base of model {model!r} to compare with; measure it too")
            place = {"model": model, "adapter": adapter, "step": step, "prompt": prompt}
            cube, base = Cube.of(group), bases[model, prompt]
            if not cube.compares(base):
                raise PromptpoolError(f"attention: {part}: other texts or layers than base's; measure both again")
            rows += ({**place, **row} for row in _rows(cube, None if adapter == "base" else base))
    summary = pd.DataFrame(rows)
    for _, family in summary.groupby(summary["head"] == MEAN):
        summary.loc[family.index, "p_holm"] = holm(family["p"].tolist())
    return summary.astype({"step": "int32", "layer": "int16", "head": "int16", "n": "int32"})[SUMMARY_COLUMNS]


def _rows(cube: Cube, base: Cube | None) -> Iterator[dict]:
    """The summary's rows of one checkpoint and prompt. base is None for base itself."""
    n = len(cube.texts)
    drawn = replicates(n, lambda draw, _: np.bincount(draw, minlength=n)) / n  # [replicates, texts]: weights of texts
    own = _estimates(cube.values, drawn)
    moved = None if base is None else _estimates(cube.values - base.values, drawn)
    absent = ~cube.values.any(axis=(0, 1, 2))
    for place in np.ndindex(*own.shape):
        layer, head, measure = place
        if absent[measure] and (base is None or not base.values[..., measure].any()):
            continue
        known, change = own[place], NO_ESTIMATE if moved is None else moved[place]
        yield {
            "layer": cube.layers[layer], "head": cube.heads[head], "span": MEASURES[measure], "n": n,
            "share": known.estimate, "share_low": known.low, "share_high": known.high,
            "estimate": change.estimate, "low": change.low, "high": change.high, "p": change.p,
        }  # fmt: skip


def _estimates(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The means over texts and their intervals. values: [layers, heads, texts, measures]; returns an array of
    Estimate [layers, heads, measures].
    """
    n = values.shape[2]
    means, resampled = values.mean(2), drawn @ values
    # The bootstrap's variance of a mean is the biased one, over n. A few texts say little about their own spread, so
    # the degrees of freedom are the number of texts if it is smaller than the number of draws.
    errors = resampled.std(2, ddof=1) * (np.sqrt(n / (n - 1)) if n > 1 else np.nan)
    freedom = min(n, len(drawn)) - 1
    margins = quantile((1 + LEVEL) / 2, freedom) * errors
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(errors == 0, np.where(means == 0, 1.0, 0.0), two_sided(means / errors, freedom))
    found = np.empty(means.shape, dtype=object)
    for place in np.ndindex(*means.shape):
        mean, margin = float(means[place]), float(margins[place])
        found[place] = Estimate(mean, mean - margin, mean + margin, float(p[place]), n)
    return found
