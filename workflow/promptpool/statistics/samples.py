"""Turns rows into samples: each variant's score on each task, and how far MTEB's experiments let it vary."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .estimates import Part, Sample, over_seeds

VARIANT = ["model", "adapter", "step", "prompt", "pooling", "layer"]
MAIN = "main_score"
RESAMPLED = "main_score_bootstrap"
REPLICATE_COLUMN = "replicates"
SEED_COLUMN = "seed"
ROW_COLUMNS = ("metric", "split", "subset", "level", "value")
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
    keys = [*VARIANT, "task"]
    # Taking each group's rows out of the frame took five times as long as all that is computed of them.
    wanted = {*keys, *ROW_COLUMNS, REPLICATE_COLUMN, SEED_COLUMN}
    columns = {name: rows[name].tolist() for name in rows if name in wanted}
    for own in _groups(rows.groupby(keys, sort=True).ngroup().to_numpy()):
        *variant, task = (columns[name][own[0]] for name in keys)
        found.setdefault(tuple(variant), {})[task] = _mean_sample(columns, own, facts.get(task, {}))
    return found


def _groups(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """The places of each number in turn, in their order. numbers: a group for each row, negative if it has none."""
    order = np.argsort(numbers, kind="stable")
    order = order[numbers[order] >= 0]
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def seeds_of(samples: Mapping[str, Sample]) -> int:
    """Over how many seeds a variant's scores are means; 1 if they are of one training, or untuned."""
    return max((len(seeds) for sample in samples.values() for seeds in sample.seeds), default=1)


def _mean_sample(columns: Mapping[str, list], own: Sequence[int], facts: Mapping) -> Sample:
    """Of the rows `own`, which are of one variant and task."""
    seeds: dict[int, list[int]] = {}
    for row in own if SEED_COLUMN in columns else ():
        if not pd.isna(seed := columns[SEED_COLUMN][row]):
            seeds.setdefault(int(seed), []).append(row)
    if len(seeds) < 2:
        return _sample(columns, own, facts)
    return over_seeds({seed: _sample(columns, seeds[seed], facts) for seed in sorted(seeds)})


def _sample(columns: Mapping[str, list], own: Sequence[int], facts: Mapping) -> Sample:
    replicates: dict[tuple, np.ndarray] = {}
    levels: dict[tuple, dict[object, list[float]]] = {}  # (split, subset) -> level -> experiments, in the rows' order
    of_documents = columns.get(REPLICATE_COLUMN)
    for row in own:
        metric, split, subset, level, value = (columns[name][row] for name in ROW_COLUMNS)
        if metric == MAIN:
            levels.setdefault((split, subset), {}).setdefault(level, []).append(value)
        else:
            replicates[split, subset] = np.asarray(of_documents[row] if of_documents else None, dtype=float)
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
