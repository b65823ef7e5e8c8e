"""Turns rows into samples: each variant's score on each task, and how far MTEB's experiments let it vary."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .estimates import Part, Sample, over_seeds

VARIANT = ["model", "adapter", "step", "prompt", "pooling", "layer"]
MAIN = "main_score"
RESAMPLED = "main_score_bootstrap"
REPLICATE_COLUMN = "replicates"
SEED_COLUMN = "seed"
Variant = tuple[str, str, int, str, str, int]


def read_facts(paths: Iterable[str | Path]) -> dict[str, dict]:
    """Task -> its facts, as the task stage wrote them."""

    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in map(Path, paths)}


def samples_by_variant(scores: pd.DataFrame, facts: Mapping[str, Mapping]) -> dict[Variant, dict[str, Sample]]:
    """(model, adapter, step, prompt, pooling, layer) -> task -> sample of its main score.

    scores: the tidy table (docs/reference/tables.md). facts: task -> `experiments` (`bootstrap`, `sets` or `none`). The
    rows of `main_score_bootstrap` hold replicates over documents. Without them only `sets` show the sampling error.
    Rows of several seeds (column `seed`, if there is one) are one variant, the mean over them.
    """
    found: dict[Variant, dict[str, Sample]] = {}
    rows = scores[scores["metric"].isin([MAIN, RESAMPLED])]
    rows = rows.sort_values(["task", "split", "subset", "level", "experiment"], kind="stable")
    for (*variant, task), group in rows.groupby([*VARIANT, "task"], sort=True):
        found.setdefault(tuple(variant), {})[task] = _mean_sample(group, facts.get(task, {}))
    return found


def seeds_of(samples: Mapping[str, Sample]) -> int:
    """Over how many seeds a variant's scores are means; 1 if they are of one training, or untuned."""
    return max((len(seeds) for sample in samples.values() for seeds in sample.seeds), default=1)


def _mean_sample(rows: pd.DataFrame, facts: Mapping) -> Sample:
    if SEED_COLUMN not in rows or rows[SEED_COLUMN].nunique() < 2:
        return _sample(rows, facts)
    return over_seeds({int(seed): _sample(own, facts) for seed, own in rows.groupby(SEED_COLUMN, sort=True)})


def _sample(rows: pd.DataFrame, facts: Mapping) -> Sample:
    """Of one variant and task. Plain loops over few rows: a data frame's own grouping takes five times as long."""
    replicates: dict[tuple, np.ndarray] = {}
    levels: dict[tuple, dict[object, list[float]]] = {}  # (split, subset) -> level -> experiments, in the rows' order
    columns = [rows[name].tolist() for name in ("metric", "split", "subset", "level", "value")]
    of_documents = rows[REPLICATE_COLUMN].tolist() if REPLICATE_COLUMN in rows else [None] * len(rows)
    for metric, split, subset, level, value, own in zip(*columns, of_documents, strict=True):
        if metric == MAIN:
            levels.setdefault((split, subset), {}).setdefault(level, []).append(value)
        else:
            replicates[split, subset] = np.asarray(own, dtype=float)
    parts, known, means = [], True, []
    sets, clusters = (facts.get("experiments") == kind for kind in ("sets", "bootstrap"))
    for place in sorted(levels):
        values = np.array([levels[place][level] for level in sorted(levels[place])], dtype=float)
        means.append(_mean(values.ravel()))
        parts.append(Part(values, replicates.get(place, np.empty(0)), clusters or sets))
        known &= values.shape[1] > 1 if sets else place in replicates
    # As in MTEB: the mean of a subset's own numbers first, then over splits and subsets.
    return Sample(_mean(np.array(means)), tuple(parts), known)


def _mean(values: np.ndarray) -> float:
    """Of the numbers that are there; NaN if there are none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
