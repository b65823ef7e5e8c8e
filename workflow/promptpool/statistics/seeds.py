"""What training with another seed would change: the variance between an adapter's trainings.

A variant of an adapter with k seeds is the mean of its k trainings. They are scored on the same documents, so what the
documents do to them does not shrink with k. What the seeds do, does. With z the trainings' scores,

    squared standard error = documents and k-means, of the mean over seeds + s^2(z) / k,    s^2 with k - 1 degrees

as for crossed random effects (Cornfield and Tukey 1956). Seeds as a source of error that an interval must hold:
Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks". Three things follow:

- One training serves all tasks, so s^2 is that of the mean over tasks. Tasks' variances are not added.
- A difference is taken seed by seed where both sides list the same seeds. Otherwise both sides' variances are added.
- Each training's k-means is in s^2 too, so k-means counts twice, by a tenth of its variance / k: never too little.

k - 1 is very few. Welch and Satterthwaite's degrees of freedom then promise too much (two seeds that matter more than
the documents: .88 instead of .95), so the critical value is Cochran's: the mean of Student's for the documents and for
the seeds, weighted by their variances (Cochran 1964, "Approximate significance levels of the Behrens-Fisher test").

With one seed there is no s^2. The seed is then taken as given.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from .student import freedom_of, quantile

# List of seeds -> how far each one's score lies from the mean over them, by sqrt(k (k - 1)), [k]. The sum of squares is
# s^2 / k. Deviations of the same list belong together, whatever was trained with it.
Seeds = Mapping[tuple[int, ...], np.ndarray]


def deviations(scores: Mapping[int, float]) -> Seeds:
    """Of the scores of several seeds; empty for a single one."""
    seeds = tuple(sorted(scores))
    if len(seeds) < 2:
        return {}
    values = np.array([scores[seed] for seed in seeds], dtype=float)
    return {seeds: (values - values.mean()) / np.sqrt(len(seeds) * (len(seeds) - 1))}


def minus(one: Seeds, other: Seeds) -> Seeds:
    """Of a difference: seed by seed for lists that both have."""
    nothing = {seeds: np.zeros(len(seeds)) for seeds in (*one, *other)}
    return {seeds: one.get(seeds, zero) - other.get(seeds, zero) for seeds, zero in nothing.items()}


def mean_over_tasks(tasks: Sequence[Seeds]) -> Seeds:
    """Of the mean over tasks. One that lacks a list is not moved by it."""
    keys = sorted({seeds for task in tasks for seeds in task})
    return {key: sum((task[key] for task in tasks if key in task), np.zeros(len(key))) / len(tasks) for key in keys}


def variances(found: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """Squared standard errors and their degrees of freedom, one for each list of seeds."""
    squares = np.array([float(values @ values) for values in found.values()])
    return squares, np.array([len(seeds) - 1.0 for seeds in found])


def joint_freedom(squares: np.ndarray, freedoms: np.ndarray, level: float) -> float:
    """The degrees of freedom at which Student's critical value for `level` is Cochran's for these parts, of which each
    has its own squared standard error and degrees of freedom (at least 1).
    """
    freedoms = freedoms[squares > 0]
    squares = squares[squares > 0]
    share = (1 + level) / 2
    wanted = sum(square * quantile(share, freedom) for square, freedom in zip(squares, freedoms, strict=True))
    return float(np.clip(freedom_of(share, wanted / squares.sum()), freedoms.min(), freedoms.max()))


def side_by_side(found: Seeds, keys: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The deviations of these lists, one after another, 0 where there are none. float64 [all their seeds]"""
    return np.concatenate([np.empty(0), *(found.get(key, np.zeros(len(key))) for key in keys)])
