"""Intervals for scores and for paired differences of scores.

MTEB scores a clustering task by several experiments. In its current tasks an experiment is a bootstrap
replicate: the documents drawn with replacement, then clustered. So the spread of a score over the
experiments already is its sampling distribution, and it is not divided by their number. Experiments
are shared by all variants, so a difference is taken experiment by experiment first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over tasks with its 95 % interval, the two-sided p of being 0, and the number of experiments."""

    estimate: float
    low: float
    high: float
    p: float
    n: int


def interval(values: Mapping[str, Sequence[float]], bootstrap: bool = True) -> Estimate:
    """The mean over tasks of each task's mean, with an interval.

    values: task -> one number an experiment (a score, or a paired difference of scores). With `bootstrap` the
    experiments are bootstrap replicates and a task's standard error is their standard deviation; without,
    they are independent sets of documents (MTEB's legacy tasks) and it is divided by the root of their
    number. Tasks are independent; the degrees of freedom are Welch and Satterthwaite's. Raises ValueError
    for no task or a task with fewer than two experiments.
    """
    groups = [np.asarray(numbers, dtype=float) for numbers in values.values()]
    if not groups or min(map(len, groups)) < 2:
        raise ValueError("an interval needs at least one task, and two experiments in each")
    mean = float(np.mean([group.mean() for group in groups]))
    variances = np.array([group.var(ddof=1) / (1 if bootstrap else len(group)) for group in groups])
    n = int(sum(map(len, groups)))
    total = variances.sum()
    if total == 0:
        return Estimate(mean, mean, mean, 0.0 if mean else 1.0, n)
    freedom = total**2 / sum(v**2 / (len(g) - 1) for v, g in zip(variances, groups, strict=True))
    error = float(np.sqrt(total) / len(groups))
    margin = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Estimate(mean, mean - margin, mean + margin, p, n)


def paired(a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], bootstrap: bool = True) -> Estimate:
    """The interval of a - b, experiment by experiment. Raises ValueError unless both have the same tasks and n."""
    if set(a) != set(b) or any(len(a[task]) != len(b[task]) for task in a):
        raise ValueError("paired scores need the same tasks and the same experiments on both sides")
    return interval({task: np.subtract(a[task], b[task]) for task in a}, bootstrap)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p values, in their order."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted.tolist()
