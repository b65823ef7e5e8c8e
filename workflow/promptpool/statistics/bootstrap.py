"""How far a score would move with other texts, for tasks whose own experiments do not show it: a bootstrap over the
pairs, the queries or the test texts, from MTEB's predictions. All variants share the same draws, so that replicates are
paired (Efron and Tibshirani 1993, chapters 6 and 8).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

REPLICATES = 200
SEED = 42
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
    a, b = np.asarray(gold, dtype=float), np.asarray(predicted[key], dtype=float)
    if correlation == "pearson":
        return replicates(len(a), lambda drawn, _: float(np.corrcoef(a[drawn], b[drawn])[0, 1]))
    a, b = (np.unique(values, return_inverse=True)[1] for values in (a, b))  # sorted once, not in every draw
    return replicates(len(a), lambda drawn, _: float(np.corrcoef(_ranks(a[drawn]), _ranks(b[drawn]))[0, 1]))


def _ranks(places: np.ndarray) -> np.ndarray:
    """Ranks of values that are given by their places in order. Ties share the mean rank."""
    counts = np.bincount(places)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def of_pair_classes(metric: str, gold: Sequence[int], predicted: Mapping[str, Sequence[float]]) -> np.ndarray | None:
    """Replicates of average precision over labelled pairs (`max_ap`, `cosine_ap`...); None for another metric."""
    kind, _, measure = metric.rpartition("_")
    keys = list(PAIR_SCORES.values()) if kind == "max" else [PAIR_SCORES.get(kind)]
    if measure != "ap" or None in keys or any(predicted.get(key) is None for key in keys):
        return None
    labels = np.asarray(gold, dtype=bool)
    sorts = [_by_score(labels, np.asarray(predicted[key], dtype=float)) for key in keys]

    def score(drawn: np.ndarray, _: np.random.Generator) -> float:
        counts = np.bincount(drawn, minlength=len(labels))
        return max(_average_precision(counts, *one) for one in sorts)

    return replicates(len(labels), score)


def _by_score(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs from the highest score down: (their order, their labels, the last place of each run of ties)."""
    order = np.argsort(-scores, kind="stable")
    return order, labels[order], np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))


def _average_precision(counts: np.ndarray, order: np.ndarray, labels: np.ndarray, ends: np.ndarray) -> float:
    """The mean over the positives of the precision at their score, as in scikit-learn. Pair i counts counts[i]
    times.
    """
    weights = counts[order]
    hits, seen = np.cumsum(weights * labels)[ends], np.cumsum(weights)[ends]
    found = np.diff(hits, prepend=0)
    there = found > 0
    return float(np.sum(found[there] * hits[there] / seen[there]) / hits[-1]) if hits[-1] else 0.0


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
