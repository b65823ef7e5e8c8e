"""Label-free criteria of a readout, from the vectors of pairs: how well it would do, without a look at any label.

For all of them, more is better. `accuracy` and `mrr` let each text look for its own positive among all positives by
cosine. `margin` is how far its own positive is from the others, in standard deviations of the others. Wang & Isola
(2020, arXiv 2005.10242) add two losses, of alignment (pairs are close) and of uniformity (all texts are spread over the
sphere); `alignment-uniformity` is their sum with the sign changed. `effective-rank` is RankMe (Garrido et al. 2023,
arXiv 2210.02885): how many dimensions the vectors use.
"""

from collections.abc import Mapping

import numpy as np

from ..statistics.bootstrap import of_queries, replicates
from ..statistics.estimates import Estimate, Part, Sample, interval

CRITERIA = ("accuracy", "mrr", "margin", "alignment-uniformity", "effective-rank")
SHARPNESS = 2  # t of the uniformity loss, as in the paper


def criteria_of(texts: np.ndarray, positives: np.ndarray, copies: np.ndarray) -> dict[str, Estimate]:
    """Criterion -> its value, with a 95 % interval over other pairs; effective-rank has none (NaN).

    texts, positives: the vectors of each pair's two sides, [pairs, dim]; copies: bool [pairs, pairs], where a text
    (row) is also another pair's positive (column), which is then none of its others (`pair_retrieval.own_copies`).
    """
    sides = [_unit(np.asarray(side, dtype=np.float64)) for side in (texts, positives)]
    likeness = sides[0] @ sides[1].T
    of_texts = _by_text(likeness, ~np.eye(len(likeness), dtype=bool) & ~copies)
    found = {name: _interval(values.mean(), of_queries(values)) for name, values in of_texts.items()}
    together = np.vstack(sides)
    found["alignment-uniformity"] = _wang_isola(together, 2 - 2 * np.diag(likeness))
    found["effective-rank"] = Estimate(effective_rank(together), *[float("nan")] * 3, 0)
    return found


def _by_text(likeness: np.ndarray, others: np.ndarray) -> Mapping[str, np.ndarray]:
    """What each text finds, float64 [pairs]. others: which positives (columns) a text (row) could confuse its own
    with. Equal ones count as their mean over all orders.
    """
    own = np.diag(likeness)
    ahead = ((likeness > own[:, None]) & others).sum(axis=1)
    level = ((likeness == own[:, None]) & others).sum(axis=1)
    below = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(own) + 1))])
    count = np.maximum(others.sum(axis=1), 1)
    mean = np.where(others, likeness, 0).sum(axis=1) / count
    spread = np.sqrt(np.where(others, (likeness - mean[:, None]) ** 2, 0).sum(axis=1) / count)
    return {
        "accuracy": np.clip((1 - ahead) / (level + 1), 0, 1),
        "mrr": (below[ahead + level + 1] - below[ahead]) / (level + 1),
        "margin": (own - mean) / np.maximum(spread, 1e-12),
    }


def _wang_isola(together: np.ndarray, distances: np.ndarray) -> Estimate:
    """Of unit vectors [2 * pairs, dim], texts before positives, and the pairs' squared distances [pairs]."""
    pairs = len(distances)
    nearness = np.exp(-SHARPNESS * (2 - 2 * together @ together.T))
    np.fill_diagonal(nearness, 0)
    nearness = sum(nearness[one : one + pairs, other : other + pairs] for one in (0, pairs) for other in (0, pairs))
    np.fill_diagonal(nearness, 0)  # a text and its own positive are for the alignment

    def losses(counts: np.ndarray) -> float:
        """The negated sum, where pair i is drawn counts[i] times. A pair drawn twice is no two pairs."""
        drawn = 4 * (counts.sum() ** 2 - (counts**2).sum())
        return -float(distances @ counts / counts.sum() + np.log(counts @ nearness @ counts / drawn))

    redrawn = replicates(pairs, lambda drawn, _: losses(np.bincount(drawn, minlength=pairs).astype(float)))
    return _interval(losses(np.ones(pairs)), redrawn)


def effective_rank(vectors: np.ndarray) -> float:
    """exp of the entropy of the singular values of vectors [texts, dim]: 1 for one direction, dim for equal ones."""
    values = np.linalg.svd(vectors, compute_uv=False)
    shares = values / values.sum() if values.sum() else np.ones(1)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _interval(value: float, redrawn: np.ndarray) -> Estimate:
    return interval({"pairs": Sample(float(value), (Part(np.array([[value]]), redrawn),))})


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
