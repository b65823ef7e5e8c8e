"""Summarises what left-out words do: the mean effect of content and of function words, their ratio, and what tuning
changed, with intervals over texts.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import write_table
from ..errors import PromptpoolError
from ..statistics.bootstrap import replicates
from ..statistics.estimates import LEVEL, holm
from ..statistics.student import quantile, two_sided
from .table import CHECKPOINT, CONTENT, FUNCTION

EFFECT_RATIO = "ratio"  # the mean effect of a content word, divided by that of a function word
EFFECTS = (CONTENT, FUNCTION, EFFECT_RATIO)
OMISSION_SUMMARY = [
    *CHECKPOINT, "measure", "value", "low", "high", "change", "change_low", "change_high", "p", "p_holm", "n",
]  # fmt: skip


def summarise_omissions(parts: Sequence[str | Path], table_out: str | Path, summary_out: str | Path) -> None:
    """Writes omit_words' parts as one table, and its summary (`omission_summary`), with sidecars."""
    started = time.time()
    table = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    write_table(table_out, table, inputs=parts, started=started)
    write_table(summary_out, omission_summary(table), inputs=parts, started=started)


def omission_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each checkpoint, prompt and measure: OMISSION_SUMMARY.

    value, low, high: the mean effect over all words of a kind, or the ratio of the two means, with its 95 % interval.
    change: value divided by base's, on the same texts; 1 is no change; NaN in base's own rows. p, p_holm: that the
    change is 1, and Holm's adjustment over the ratios (and separately over the means). n: texts. Intervals are those of
    logarithms by a bootstrap over texts, the same draws everywhere, because ratios are skewed.
    Raises PromptpoolError for an adapter without its base, and where one of the two kinds does not occur.
    """
    sums = {place: _sums(own, place) for place, own in table.groupby(CHECKPOINT, sort=False)}
    rows = []
    for (model, adapter, step, prompt), own in sums.items():
        base = sums.get((model, "base", 0, prompt))
        if base is None or base["texts"] != own["texts"]:
            raise PromptpoolError(
                f"omissions: {adapter}@{step} has no base of model {model!r} on its texts; measure both"
            )
        for number, measure in enumerate(EFFECTS):
            value = _interval(own["logs"][number], own["drawn"][number], own["n"])
            change = dict.fromkeys(("value", "low", "high", "p"), float("nan"))
            if adapter != "base":
                moved = own["logs"][number] - base["logs"][number]
                change = _interval(moved, own["drawn"][number] - base["drawn"][number], own["n"])
            rows.append({
                "model": model, "adapter": adapter, "step": step, "prompt": prompt, "measure": measure, "n": own["n"],
                **{key: value[key] for key in ("value", "low", "high")}, "p": change["p"],
                "change": change["value"], "change_low": change["low"], "change_high": change["high"],
            })  # fmt: skip
    summary = pd.DataFrame(rows)
    for _, family in summary.groupby(summary["measure"] == EFFECT_RATIO):
        summary.loc[family.index, "p_holm"] = holm(family["p"].tolist())
    return summary.astype({"step": "int32", "n": "int32"})[OMISSION_SUMMARY]


def _sums(own: pd.DataFrame, place: Sequence) -> dict:
    """The logarithms of EFFECTS, `logs` [3], and of their bootstrap draws over texts, `drawn` [3, replicates]."""
    by_text = own.groupby(["text_id", "kind"])["effect"].agg(["sum", "size"]).unstack(fill_value=0.0)
    lacking = {CONTENT, FUNCTION} - set(own["kind"])
    if lacking:
        raise PromptpoolError(
            f"omissions: the texts have no {lacking.pop()} words under prompt {place[-1]}; set attention.omissions: 0"
        )
    texts = by_text.index.tolist()
    n = len(texts)
    weights = np.vstack([np.ones(n), replicates(n, lambda draw, _: np.bincount(draw, minlength=n))])
    logs = {kind: _log_means(weights, by_text["sum", kind], by_text["size", kind]) for kind in (CONTENT, FUNCTION)}
    every = np.array([logs[CONTENT], logs[FUNCTION], logs[CONTENT] - logs[FUNCTION]])
    return {"texts": texts, "n": n, "logs": every[:, 0], "drawn": every[:, 1:]}


def _log_means(weights: np.ndarray, sums: pd.Series, sizes: pd.Series) -> np.ndarray:
    """The logarithm of the mean effect of a word, for each row of weights of texts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log((weights @ sums.to_numpy()) / (weights @ sizes.to_numpy()))


def _interval(log: float, drawn: np.ndarray, n: int) -> Mapping[str, float]:
    """The number, its 95 % interval, and the p that it is 1. drawn: its logarithm in each draw."""
    known = drawn[np.isfinite(drawn)]  # a draw without a word of one kind has none
    error = known.std(ddof=1) * np.sqrt(n / (n - 1)) if n > 1 else float("nan")
    freedom = max(1, min(n, len(known)) - 1)
    margin = quantile((1 + LEVEL) / 2, freedom) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(two_sided(np.asarray(log / error), freedom)) if error != 0 else float(log == 0)
    return {
        "value": float(np.exp(log)),
        "low": float(np.exp(log - margin)),
        "high": float(np.exp(log + margin)),
        "p": p,
    }
