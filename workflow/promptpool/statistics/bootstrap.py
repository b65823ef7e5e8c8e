"""How far a score would move with other texts, for tasks whose own experiments do not show it: a bootstrap over the
pairs, the queries or the test texts, from MTEB's predictions. All variants share the same draws, so that replicates are
paired (Efron and Tibshirani 1993, chapters 6 and 8).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

REPLICATES = 200
SEED = 42
MOST_NUMBERS = 2_000_000  # of one array, 16 MB
PAIR_SCORES = {
    "similarity": "similarity_scores",
    "cosine": "cosine_scores",
    "manhattan": "manhattan_distances",
    "euclidean": "euclidean_distances",
    "dot": "dot_scores",
}


def replicates(units: int, score: Callable[[np.ndarray, np.random.Generator], float]) -> np.ndarray:
    """`score` of REPLICATES draws of `units` indices with replacement, float64 [REPLICATES]. The draws depend only on
    `units`. `score` may draw further from the generator it gets.
    """
    rng = np.random.default_rng(SEED)
    return np.array([score(rng.integers(0, units, units), rng) for _ in range(REPLICATES)])


def of_queries(values: Sequence[float]) -> np.ndarray:
    """Replicates of a mean over queries (retrieval, reranking)."""
    numbers = np.asarray(values, dtype=float)
    return replicates(len(numbers), lambda drawn, _: numbers[drawn].mean())


def of_correlation(metric: str, gold: Sequence[float], predicted: Mapping[str, Sequence[float]]) -> np.ndarray | None:
    """Replicates of an STS score such as `cosine_spearman`; None for another metric."""
    kind, _, correlation = metric.rpartition("_")
    key = PAIR_SCORES.get(kind or "similarity")
    if correlation not in ("spearman", "pearson") or key is None or predicted.get(key) is None:
        return None
    sides = [np.asarray(values, dtype=float) for values in (gold, predicted[key])]
    if correlation == "pearson":
        fixed = [(values - values.mean())[:, None] for values in sides]
        return np.concatenate([_correlation(counts, *fixed) for counts in _counts(len(sides[0]))])
    sides = [np.unique(values, return_inverse=True)[1] for values in sides]  # sorted once, not in every draw
    blocks = _counts(len(sides[0]))
    return np.concatenate([_correlation(counts, *(_ranks(counts, places) for places in sides)) for counts in blocks])


def _counts(units: int) -> Iterable[np.ndarray]:
    """How often the draws of `replicates` have each unit, float64 [units, some draws], as many at once as fit. Kept for
    the next variant where all of them fit.
    """
    return _kept_counts(units) if REPLICATES * units <= MOST_NUMBERS else _blocks(units)


@functools.lru_cache(maxsize=1)
def _kept_counts(units: int) -> tuple[np.ndarray, ...]:
    return tuple(_blocks(units))


def _blocks(units: int) -> Iterator[np.ndarray]:
    rng, block = np.random.default_rng(SEED), max(1, MOST_NUMBERS // units)
    for start in range(0, REPLICATES, block):
        drawn = [rng.integers(0, units, units) for _ in range(min(block, REPLICATES - start))]
        yield np.stack([np.bincount(one, minlength=units) for one in drawn], axis=1).astype(float)


def _ranks(counts: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Each unit's rank in each draw, of values given by their places in order. Ties share the mean rank."""
    order = np.argsort(places, kind="stable")
    of_value = np.add.reduceat(counts[order], np.flatnonzero(np.diff(places[order], prepend=-1)), axis=0)
    return (np.cumsum(of_value, axis=0) - (of_value - 1) / 2)[places]


def _correlation(counts: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation in each draw, [draws]; a, b: [units, draws] or [units, 1]."""
    total = counts.sum(axis=0)
    a, b = (side - np.einsum("ud,ud->d", counts, np.broadcast_to(side, counts.shape)) / total for side in (a, b))
    weighted = counts * a
    both, of_a = (np.einsum("ud,ud->d", weighted, np.broadcast_to(side, counts.shape)) for side in (b, a))
    of_b = np.einsum("ud,ud,ud->d", counts, *[np.broadcast_to(b, counts.shape)] * 2)
    return both / np.sqrt(of_a * of_b)


def of_pair_classes(metric: str, gold: Sequence[int], predicted: Mapping[str, Sequence[float]]) -> np.ndarray | None:
    """Replicates of average precision over labelled pairs (`max_ap`, `cosine_ap`...); None for another metric."""
    kind, _, measure = metric.rpartition("_")
    keys = list(PAIR_SCORES.values()) if kind == "max" else [PAIR_SCORES.get(kind)]
    if measure != "ap" or None in keys or any(predicted.get(key) is None for key in keys):
        return None
    labels = np.asarray(gold, dtype=bool)
    sorts = [_by_score(labels, np.asarray(predicted[key], dtype=float)) for key in keys]
    blocks = _counts(len(labels))
    return np.concatenate([np.max([_average_precision(counts, *one) for one in sorts], axis=0) for counts in blocks])


def _by_score(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs from the highest score down: (their order, their labels, the last place of each run of ties)."""
    order = np.argsort(-scores, kind="stable")
    return order, labels[order], np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))


def _average_precision(counts: np.ndarray, order: np.ndarray, labels: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The mean over the positives of the precision at their score, as in scikit-learn, in each draw. Pair i counts
    counts[i] times.
    """
    weights = counts[order]
    hits, seen = np.cumsum(weights * labels[:, None], axis=0)[ends], np.cumsum(weights, axis=0)[ends]
    found = np.diff(hits, axis=0, prepend=0)
    return (found * hits / np.maximum(seen, 1)).sum(axis=0) / np.maximum(hits[-1], 1)


def of_classes(metric: str, gold: Sequence[int], predicted: Sequence[Sequence[int]]) -> np.ndarray | None:
    """Replicates of `accuracy` or macro `f1` over test texts, from each experiment's predictions [experiments, texts].

    The score is a mean over experiments, MTEB's draws of a training set, which share their test texts. How far it moves
    with other training sets is seen in their spread (`Part.variances`). None for another metric.
    """
    codes = {label: code for code, label in enumerate(sorted({*gold, *(p for run in predicted for p in run)}, key=str))}
    truth = np.array([codes[label] for label in gold])
    guesses = np.array([[codes[label] for label in run] for run in predicted])
    if metric == "accuracy":
        right = (guesses == truth).mean(axis=0)
        return replicates(len(truth), lambda drawn, _: right[drawn].mean())
    if metric == "f1":
        return replicates(
            len(truth), lambda drawn, _: np.mean([_macro_f1(truth[drawn], run[drawn], len(codes)) for run in guesses])
        )
    return None


def _macro_f1(truth: np.ndarray, guess: np.ndarray, classes: int) -> float:
    """The mean F1 over the classes that occur on either side, as in scikit-learn."""
    hits = np.bincount(truth[truth == guess], minlength=classes)
    there = np.bincount(truth, minlength=classes) + np.bincount(guess, minlength=classes)
    return float((2 * hits[there > 0] / there[there > 0]).mean())
