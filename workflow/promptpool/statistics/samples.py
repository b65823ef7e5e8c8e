"""Turns rows into samples: each variant's score on each task, and how far MTEB's experiments let it vary."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .estimates import Sample

VARIANT = ["model", "adapter", "step", "prompt", "pooling", "layer"]
MAIN = "main_score"
RESAMPLED = "main_score_bootstrap"
Variant = tuple[str, str, int, str, str, int]


def read_facts(paths: Iterable[str | Path]) -> dict[str, dict]:
    """Task -> its facts, as the task stage wrote them."""

    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in map(Path, paths)}


def samples_by_variant(scores: pd.DataFrame, facts: Mapping[str, Mapping]) -> dict[Variant, dict[str, Sample]]:
    """(model, adapter, step, prompt, pooling, layer) -> task -> sample of its main score.

    scores: the tidy table (docs/reference/tables.md). facts: task -> `experiments` (`bootstrap`, `sets` or `none`) and,
    for `bootstrap`, `draws` and `documents` ("split/subset" -> number). Rows of `main_score_bootstrap` take precedence,
    because they are replicates of the score itself.
    """
    found: dict[Variant, dict[str, Sample]] = {}
    rows = scores[scores["metric"].isin([MAIN, RESAMPLED])]
    rows = rows.sort_values(["task", "split", "subset", "level", "experiment"], kind="stable")
    for (*variant, task), group in rows.groupby([*VARIANT, "task"], sort=True):
        found.setdefault(tuple(variant), {})[task] = _sample(group, facts.get(task, {}))
    return found


def _sample(rows: pd.DataFrame, facts: Mapping) -> Sample:
    main, resampled = (rows[rows["metric"] == metric] for metric in (MAIN, RESAMPLED))
    # As in MTEB: the mean of a subset's own numbers first, then over splits and subsets.
    estimate = float(main.groupby(["split", "subset"])["value"].mean().mean())
    if len(resampled):
        return Sample(estimate, _parts(resampled), 1.0)
    parts, kind = _parts(main), facts.get("experiments", "none")
    counts = {part.shape[1] for part in parts}
    if kind == "none" or min(counts) < 2:
        return Sample(estimate, parts, float("nan"))
    share = 0.0 if kind == "sets" else _drawn(facts)
    return Sample(estimate, parts, share + 1 / min(counts))


def _drawn(facts: Mapping) -> float:
    """Documents that one experiment draws / documents that exist; the largest ratio over subsets."""
    return max(facts["draws"] / number for number in facts["documents"].values())


def _parts(rows: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """One array [levels, replicates] for each split and subset."""
    parts = []
    for _, part in rows.groupby(["split", "subset"], sort=True):
        levels = [level["value"].to_numpy(dtype=float) for _, level in part.groupby("level", sort=True)]
        parts.append(np.stack(levels))
    return tuple(parts)
