"""Intervals for scores and for paired differences of scores, Holm's correction, ranks.

MTEB measures a clustering task several times, over experiments that all variants share. So a difference is taken within
each experiment first. What the experiments' spread means depends on the task (`Sample.factor`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 2000  # for the distribution of ranks


@dataclass(frozen=True)
class Sample:
    """One variant's score on one task, and what is known of its sampling error.

    estimate: the task's score. parts: one array [levels, replicates] for each split and subset. Parts hold different
    documents and are independent; levels of a hierarchy share theirs. factor: a level's squared standard error is
    `factor` times the variance of its replicates:

    * 1 if they are bootstrap replicates of the estimate itself;
    * m / n + 1 / r if the estimate is the mean of r replicates, each of m documents drawn from n: the m-out-of-n
      bootstrap's variance (Bickel, Gotze and van Zwet 1997), and that of a mean of r draws;
    * 1 / r if they are r independent sets of documents;
    * NaN if nothing shows how far the score would move with other documents.
    """

    estimate: float
    parts: tuple[np.ndarray, ...] = ()
    factor: float = 1.0

    @property
    def replicates(self) -> int:
        """The number of replicates."""
        return sum(part.size for part in self.parts)

    def variance(self) -> tuple[float, float]:
        """(squared standard error, degrees of freedom); NaN and 0 if unknown."""
        if not self.parts or not np.isfinite(self.factor) or any(part.shape[1] < 2 for part in self.parts):
            return float("nan"), 0.0
        # Levels share documents. This assumes perfectly correlated errors, so it is conservative: never too narrow.
        errors = [float(np.sqrt(self.factor) * part.std(axis=1, ddof=1).mean()) for part in self.parts]
        variances = np.square(errors) / len(self.parts) ** 2
        freedoms = np.array([part.shape[1] - 1 for part in self.parts])
        return float(variances.sum()), _welch_satterthwaite(variances, freedoms)

    def __sub__(self, other: "Sample") -> "Sample":
        """The paired difference. Raises ValueError unless both have the same parts, levels and replicates."""
        if [part.shape for part in self.parts] != [part.shape for part in other.parts]:
            raise ValueError("paired scores need the same tasks and the same experiments on both sides")
        parts = tuple(a - b for a, b in zip(self.parts, other.parts, strict=True))
        return Sample(self.estimate - other.estimate, parts, self.factor)


@dataclass(frozen=True)
class Estimate:
    """A mean over tasks, its 95 % interval, the two-sided p of being 0, and the number of replicates behind it.

    low, high and p are NaN if the spread of a task is unknown.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int


def interval(samples: Mapping[str, Sample]) -> Estimate:
    """The mean over tasks, with a t interval. Tasks are independent and weigh the same; the degrees of freedom follow
    Welch and Satterthwaite. Raises ValueError for no task.
    """
    if not samples:
        raise ValueError("an interval needs at least one task")
    tasks = list(samples.values())
    mean, n = float(np.mean([task.estimate for task in tasks])), sum(task.replicates for task in tasks)
    variances, freedoms = map(np.array, zip(*(task.variance() for task in tasks), strict=True))
    total = float(variances.sum())
    if np.isnan(total):
        return Estimate(mean, float("nan"), float("nan"), float("nan"), n)
    if total == 0:
        return Estimate(mean, mean, mean, 0.0 if mean else 1.0, n)
    freedom = _welch_satterthwaite(variances, freedoms)
    error = float(np.sqrt(total)) / len(tasks)
    margin = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Estimate(mean, mean - margin, mean + margin, p, n)


def paired(a: Mapping[str, Sample], b: Mapping[str, Sample]) -> Estimate:
    """The interval of a - b, replicate by replicate. Raises ValueError unless both have the same tasks and shapes."""
    if set(a) != set(b):
        raise ValueError("paired scores need the same tasks and the same experiments on both sides")
    return interval({task: a[task] - b[task] for task in a})


def _welch_satterthwaite(variances: np.ndarray, freedoms: np.ndarray) -> float:
    total = variances.sum()
    return float(total**2 / np.sum(variances**2 / freedoms)) if total else float(freedoms.sum())


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p values, in their order (Holm 1979). A NaN is not a comparison."""
    known = [index for index, value in enumerate(p) if not np.isnan(value)]
    order = sorted(known, key=lambda index: p[index])
    adjusted = [float("nan")] * len(p)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(known) - rank) * p[index]))
        adjusted[index] = running
    return adjusted


def outcomes(differences: Sequence[Estimate]) -> tuple[int, int, int]:
    """(wins, ties, losses) over tasks. A win is a difference whose interval is above 0, a loss one below."""
    wins = sum(one.low > 0 for one in differences)
    losses = sum(one.high < 0 for one in differences)
    return wins, len(differences) - wins - losses, losses


@dataclass(frozen=True)
class Rank:
    """A competitor's mean rank over tasks (1 is best), its 95 % interval, on how many tasks it is best, and the share
    of draws in which its mean over tasks is the highest. The interval and the share are NaN if a spread is unknown.
    """

    rank: float
    low: float
    high: float
    best: int
    p_best: float


def ranks(competitors: Mapping[str, Mapping[str, Sample]], seed: int = 0) -> dict[str, Rank]:
    """Ranks of several variants that have the same tasks. Ties share the mean rank.

    As everywhere here, the interval is over other documents: in each draw a task shows one of its replicates, the same
    one for all variants, moved in proportion to the task's standard error.
    """
    names = list(competitors)
    tasks = list(competitors[names[0]])
    table = np.array([[competitors[name][task].estimate for task in tasks] for name in names])
    task_ranks = stats.rankdata(-table, axis=0)
    best = (task_ranks == task_ranks.min(axis=0)).sum(axis=1)
    draws = _draws(competitors, names, tasks, np.random.default_rng(seed))
    if draws is None:
        nan = float("nan")
        return {name: Rank(float(task_ranks[i].mean()), nan, nan, int(best[i]), nan) for i, name in enumerate(names)}
    mean_ranks = stats.rankdata(-draws, axis=1).mean(axis=2)  # [draws, competitors]
    low, high = np.quantile(mean_ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    means = draws.mean(axis=2)
    top = means == means.max(axis=1, keepdims=True)
    share = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return {
        name: Rank(float(task_ranks[i].mean()), float(low[i]), float(high[i]), int(best[i]), float(share[i]))
        for i, name in enumerate(names)
    }


def _draws(competitors: Mapping, names: list[str], tasks: list[str], rng: np.random.Generator) -> np.ndarray | None:
    """Scores [DRAWS, competitors, tasks] as they might have turned out; None if a task's spread is unknown."""
    drawn = np.empty((DRAWS, len(names), len(tasks)))
    for column, task in enumerate(tasks):
        samples = [competitors[name][task] for name in names]
        if any(np.isnan(sample.variance()[0]) for sample in samples):
            return None
        moved = np.zeros((DRAWS, len(names)))
        for place in range(len(samples[0].parts)):
            block = np.stack([sample.parts[place] for sample in samples])  # [competitors, levels, replicates]
            away = (block - block.mean(axis=2, keepdims=True)).mean(axis=1) * np.sqrt(samples[0].factor)
            count = away.shape[1]
            # From few replicates a deviation is too small by the first factor; levels correlate, hence the second.
            away *= np.sqrt(count / (count - 1)) * np.sqrt(block.shape[1])
            moved += away[:, rng.integers(0, count, DRAWS)].T / len(samples[0].parts)
        drawn[:, :, column] = moved + [sample.estimate for sample in samples]
    return drawn
