"""What can be said of the best of many: ranks, how often each is best, and intervals that hold for all at once.

All rests on `Sample.errors` and `Sample.seeds`: multiplied by standard normal numbers, the same ones for every
competitor, they show how the scores might have turned out with other documents, other runs of k-means and other seeds,
together (the multiplier bootstrap).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .estimates import LEVEL, Estimate, Sample, error_of, mean_of
from .seeds import Seeds, mean_over_tasks, side_by_side
from .student import quantile, two_sided

DRAWS = 2000
Scores = Mapping[str, Sample]  # task -> sample


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


def ranks(competitors: Mapping[str, Scores], seed: int = 0) -> dict[str, Rank]:
    """Ranks of several variants that have the same tasks. Ties share the mean rank.

    As everywhere here, the interval is over other documents: in each draw the scores of all variants move together.
    """
    names = list(competitors)
    tasks = list(competitors[names[0]])
    table = np.array([[competitors[name][task].estimate for task in tasks] for name in names])
    task_ranks = _ranked(table.T).T
    best = (task_ranks == task_ranks.min(axis=0)).sum(axis=1)
    if any(np.isnan(error_of(scores)[0]) for scores in competitors.values()):
        nan = float("nan")
        return {name: Rank(float(task_ranks[i].mean()), nan, nan, int(best[i]), nan) for i, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    draws = np.empty((DRAWS, len(names), len(tasks)))
    for column, task in enumerate(tasks):
        errors = np.stack([competitors[name][task].errors() for name in names])
        draws[:, :, column] = _moved(errors, rng) + table[:, column]
    draws += _moved_by_seeds([[competitors[name][task].seeds for name in names] for task in tasks], rng)
    mean_ranks = _ranked(draws.transpose(0, 2, 1)).mean(axis=1)  # [draws, competitors]
    low, high = np.quantile(mean_ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    means = draws.mean(axis=2)
    top = means == means.max(axis=1, keepdims=True)
    share = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return {
        name: Rank(float(task_ranks[i].mean()), float(low[i]), float(high[i]), int(best[i]), float(share[i]))
        for i, name in enumerate(names)
    }


def best_of(family: Sequence[Scores], chosen: int, seed: int = 0) -> Estimate:
    """The mean of the chosen one, with an interval that holds however it was chosen among the family.

    Such an interval is as wide as needed for all of the family's to hold at once (max-T: the 95 % quantile of the
    largest error in standard errors). Its p is adjusted in the same way. NaN if a spread is unknown.
    """
    return best_difference(family, chosen, [{task: Sample(0.0) for task in family[chosen]}], 0, seed)


def best_difference(
    ours: Sequence[Scores], chosen: int, theirs: Sequence[Scores], other: int, seed: int = 0
) -> Estimate:
    """The paired difference ours[chosen] - theirs[other], with an interval that holds however both were chosen (max-T
    over all pairs). A sample without parts is a fixed number.
    """
    fixed = all(not sample.parts for sample in theirs[other].values())
    pair = ours[chosen] if fixed else {task: ours[chosen][task] - theirs[other][task] for task in ours[chosen]}
    mean = mean_of(ours[chosen]) - mean_of(theirs[other])
    n = sum(sample.replicates for sample in pair.values())
    error, freedom = error_of(pair)
    if np.isnan(error):
        return Estimate(mean, *[float("nan")] * 3, n)
    if error == 0:
        return Estimate(mean, mean, mean, 0.0 if mean else 1.0, n, 0.0)
    largest = _largest(ours, () if fixed else theirs, freedom, np.random.default_rng(seed))
    # With a single candidate this is Student's t; the simulated quantile must not be narrower than that.
    factor = max(float(np.quantile(largest, LEVEL)), quantile((1 + LEVEL) / 2, freedom))
    size = abs(mean) / error
    p = max(float((largest >= size).mean()), float(two_sided(size, freedom)))
    return Estimate(mean, mean - factor * error, mean + factor * error, p, n, error)


def _largest(ours: Sequence[Scores], theirs: Sequence[Scores], freedom: float, rng: np.random.Generator) -> np.ndarray:
    """The largest error over all pairs, in standard errors, in DRAWS draws."""
    keys = sorted({key for scores in (*ours, *theirs) for sample in scores.values() for key in sample.seeds})
    mine, yours = (np.stack([_errors(scores, keys) for scores in side]) if side else None for side in (ours, theirs))
    normal = rng.standard_normal((DRAWS, mine.shape[1]))
    scale = np.sqrt(freedom / rng.chisquare(freedom, DRAWS))  # the standard error is an estimate too
    moved = normal @ mine.T
    if yours is None:
        yours, against = np.zeros((1, mine.shape[1])), np.zeros((DRAWS, 1))
    else:
        against = normal @ yours.T
    largest = np.zeros(DRAWS)
    for place, errors in enumerate(mine):
        widths = np.linalg.norm(errors - yours, axis=1)
        there = widths > 1e-12
        if there.any():
            sizes = np.abs(moved[:, place, None] - against[:, there]) / widths[there]
            largest = np.maximum(largest, sizes.max(axis=1))
    return largest * scale


def _errors(scores: Scores, keys: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The errors of the mean over tasks, [sources]. Tasks have sources of their own, and share their seeds (keys)."""
    of_tasks = np.concatenate([sample.errors() for sample in scores.values()]) / len(scores)
    return np.append(of_tasks, side_by_side(mean_over_tasks([sample.seeds for sample in scores.values()]), keys))


def _moved(errors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far each competitor's score moves in DRAWS draws, [DRAWS, competitors]. errors: [competitors, sources]."""
    return rng.standard_normal((DRAWS, errors.shape[1])) @ errors.T


def _moved_by_seeds(tasks: Sequence[Sequence[Seeds]], rng: np.random.Generator) -> np.ndarray:
    """How far other seeds move each score, [DRAWS, competitors, tasks]: in one draw all tasks by the same ones."""
    keys = sorted({key for task in tasks for one in task for key in one})
    errors = np.stack([[side_by_side(one, keys) for one in task] for task in tasks], axis=1)
    normal = rng.standard_normal((DRAWS, errors.shape[2]))
    return np.einsum("ds,cts->dct", normal, errors)


def _ranked(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, 1 for the largest; ties share their mean rank."""
    rows = pd.DataFrame(values.reshape(-1, values.shape[-1]))
    return rows.rank(axis=1, ascending=False).to_numpy().reshape(values.shape)
