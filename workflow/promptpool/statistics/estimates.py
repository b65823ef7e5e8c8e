"""Intervals for scores and for paired differences of scores, Holm's correction.

MTEB measures a task several times, over experiments that all variants share, and the bootstrap's replicates over
documents are shared too. So a difference is taken within each experiment and each replicate first (`Sample.variance`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .seeds import Seeds, deviations, joint_freedom, mean_over_tasks, minus, variances
from .student import normal_quantile, quantile, two_sided

LEVEL = 0.95
HELD = 1.35  # how much more a score varies over documents than with its clusters held fixed (measured/intervals.md)
POWER = 0.8  # with which `Estimate.detectable` is found


@dataclass(frozen=True)
class Part:
    """What one split and subset of a task shows. Parts have documents of their own.

    experiments: the numbers that MTEB averages, [levels, experiments]. replicates: bootstrap replicates of their mean
    over other documents, which all variants share, [replicates]; empty if there are none. held: whether the replicates
    hold the experiments' clusters fixed. Their variance is then multiplied by HELD, since k-means would follow the
    documents.
    """

    experiments: np.ndarray
    replicates: np.ndarray = field(default_factory=lambda: np.empty(0))
    held: bool = False

    def errors(self) -> np.ndarray:
        """Independent deviations of the part's score, [sources]: a sum of them, each times a standard normal number,
        moves as the score does. The first ones are of the documents, the others of the experiments.
        """
        parts = [_deviations(self.replicates[None]) * np.sqrt(self._factor)] if len(self.replicates) else []
        if self.experiments.shape[1] > 1:
            levels, runs = self.experiments.shape
            parts.append(_deviations(self.experiments) / (levels * np.sqrt(runs)))
        return np.concatenate(parts) if parts else np.empty(0)

    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """Squared standard errors and their degrees of freedom: of the documents, then of each level's experiments.

        Replicates that hold the clusters fixed rest on so many clusterings, so their degrees of freedom are no more.
        """
        levels, runs = self.experiments.shape
        squares, freedoms = np.zeros(0), np.zeros(0)
        if len(self.replicates):
            squares = np.array([self.replicates.var(ddof=1) * self._factor])
            freedoms = np.array([runs - 1.0 if self.held else len(self.replicates) - 1.0])
        if runs > 1:
            spread = self.experiments.var(axis=1, ddof=1) / (runs * levels**2)
            squares, freedoms = np.append(squares, spread), np.append(freedoms, [runs - 1.0] * levels)
        return squares, freedoms

    @property
    def _factor(self) -> float:
        return HELD if self.held else 1.0

    def __sub__(self, other: "Part") -> "Part":
        return Part(self.experiments - other.experiments, self.replicates - other.replicates, self.held)

    def __len__(self) -> int:
        return len(self.replicates) or self.experiments.size


def _deviations(rows: np.ndarray) -> np.ndarray:
    """Each row's deviations from its mean, of which the sum of squares is the row's variance. Flat."""
    return ((rows - rows.mean(axis=1, keepdims=True)) / np.sqrt(rows.shape[1] - 1)).ravel()


@dataclass(frozen=True)
class Sample:
    """One variant's score on one task, and what is known of its sampling error.

    estimate: the task's score, a mean over `parts`. known: whether the parts show how far the score would move with
    other documents. The squared standard error of a part is the variance of its replicates (documents) plus s^2 / r
    of its r experiments (k-means and its draws, classifiers, or sets with documents of their own). seeds: of a mean
    over several trainings, how far each of them lies from it (`statistics.seeds`).
    """

    estimate: float
    parts: tuple[Part, ...] = ()
    known: bool = True
    seeds: Seeds = field(default_factory=dict)

    @property
    def replicates(self) -> int:
        """The number of replicates, or of experiments without any."""
        return sum(map(len, self.parts))

    def variance(self) -> tuple[float, float]:
        """(squared standard error without the seeds', degrees of freedom); NaN and 0 if unknown."""
        pairs = [part.variances() for part in self.parts]
        if not self.known or not pairs or any(not len(squares) for squares, _ in pairs):
            return float("nan"), 0.0
        squares, freedoms = map(np.concatenate, zip(*pairs, strict=True))
        squares = squares / len(self.parts) ** 2
        return float(squares.sum()), _welch_satterthwaite(squares, freedoms)

    def errors(self) -> np.ndarray:
        """Its parts' `Part.errors`, [sources], as they move the score. Seeds move all tasks, so they are not in it."""
        return np.concatenate([part.errors() for part in self.parts]) / len(self.parts)

    def __sub__(self, other: "Sample") -> "Sample":
        """The paired difference. Raises ValueError unless both have the same parts, levels and replicates."""
        if _shapes(self) != _shapes(other):
            raise ValueError("paired scores need the same tasks and the same experiments on both sides")
        parts = tuple(a - b for a, b in zip(self.parts, other.parts, strict=True))
        seeds = minus(self.seeds, other.seeds)
        return Sample(self.estimate - other.estimate, parts, self.known and other.known, seeds)


def over_seeds(trainings: Mapping[int, Sample]) -> Sample:
    """The mean over trainings of one adapter with different seeds, seed -> score. All share documents and experiments,
    so it is taken experiment by experiment and replicate by replicate. Raises ValueError unless all have the same ones.
    """
    samples = list(trainings.values())
    if any(_shapes(one) != _shapes(samples[0]) for one in samples):
        raise ValueError("a mean over seeds needs the same experiments of every seed")
    parts = tuple(
        Part(
            np.mean([part.experiments for part in same], axis=0),
            np.mean([part.replicates for part in same], axis=0),
            same[0].held,
        )
        for same in zip(*(one.parts for one in samples), strict=True)
    )
    scores = {seed: one.estimate for seed, one in trainings.items()}
    return Sample(float(np.mean(list(scores.values()))), parts, all(one.known for one in samples), deviations(scores))


def _shapes(sample: Sample) -> list:
    return [(part.experiments.shape, part.replicates.shape) for part in sample.parts]


@dataclass(frozen=True)
class Estimate:
    """A mean over tasks, its 95 % interval, the two-sided p of being 0, and the number of replicates behind it.

    error: the standard error. low, high, p and error are NaN if the spread of a task is unknown.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int
    error: float = float("nan")

    @property
    def detectable(self) -> float:
        """The smallest true value that would be found different from 0 in POWER of all studies like this one."""
        return float((normal_quantile(POWER) * self.error) + (self.high - self.low) / 2)


def interval(samples: Mapping[str, Sample]) -> Estimate:
    """The mean over tasks, with a t interval. Tasks are independent and weigh the same; the degrees of freedom follow
    Welch and Satterthwaite, with several seeds Cochran (`statistics.seeds`). Raises ValueError for no task.
    """
    mean, n = mean_of(samples), sum(task.replicates for task in samples.values())
    error, freedom = error_of(samples)
    if np.isnan(error):
        return Estimate(mean, *[float("nan")] * 3, n)
    if error == 0:
        return Estimate(mean, mean, mean, 0.0 if mean else 1.0, n, 0.0)
    margin = quantile((1 + LEVEL) / 2, freedom) * error
    p = float(two_sided(mean / error, freedom))
    return Estimate(mean, mean - margin, mean + margin, p, n, error)


def mean_of(samples: Mapping[str, Sample]) -> float:
    """The mean over tasks. Raises ValueError for no task."""
    if not samples:
        raise ValueError("an interval needs at least one task")
    return float(np.mean([task.estimate for task in samples.values()]))


def error_of(samples: Mapping[str, Sample]) -> tuple[float, float]:
    """(standard error of the mean over tasks, degrees of freedom); NaN and 0 if a task's spread is unknown."""
    squares, freedoms = map(np.array, zip(*(task.variance() for task in samples.values()), strict=True))
    squares = squares / len(samples) ** 2
    if np.isnan(squares.sum()):
        return float("nan"), 0.0
    freedom = _welch_satterthwaite(squares, freedoms)
    of_seeds, few = variances(mean_over_tasks([task.seeds for task in samples.values()]))
    total = float(squares.sum() + of_seeds.sum())
    if of_seeds.sum():
        freedom = joint_freedom(np.append(of_seeds, squares.sum()), np.append(few, freedom), LEVEL)
    return float(np.sqrt(total)), freedom


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
