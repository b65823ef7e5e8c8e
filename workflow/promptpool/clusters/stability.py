"""How many clusters? As many as come back when the texts are others of the same kind.

Parts of the texts, 80 % each, are clustered apart. Two clusterings are compared on the texts that both parts share
(Ben-Hur, Elisseeff and Guyon 2002, "A stability based method for discovering structure in clustered data"), by the
adjusted Rand index, which is 0 by chance for any k (Hubert and Arabie 1985). Two large halves come back nearly always,
whatever else there is, so 2 is taken only if nothing beyond it is GOOD. Else it is the largest k from 3 on at a peak:
at least as stable as its neighbours. Beyond the last peak, clusters are cut where the sample happens to lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

PARTS = 6  # 15 pairs of them
SHARE = 0.8
MOST_COMPARED = 2_000  # texts; more would change a mean over 15 pairs little, and take longer
STARTS = 4  # of each k-means
HALVES = 2
GOOD, MODERATE = 0.8, 0.65  # Steinley (2004), "Properties of the Hubert-Arabie adjusted Rand index"


@dataclass(frozen=True)
class Stability:
    """For each k, the mean adjusted Rand index over pairs of parts, and the standard error of that mean."""

    ks: tuple[int, ...]
    mean: tuple[float, ...]
    error: tuple[float, ...]

    def best(self) -> int:
        """The largest k from 3 on that is a peak of at least GOOD; without one, the k of the highest mean."""
        known = {k: mean for k, mean in zip(self.ks, self.mean, strict=True) if k > HALVES}
        peaks = [k for k, mean in known.items() if mean >= max(GOOD, known.get(k - 1, -1), known.get(k + 1, -1))]
        return max(peaks) if peaks else self.ks[int(np.argmax(self.mean))]

    def of(self, k: int) -> float:
        """The mean index of one k; NaN if it was not tried."""
        return dict(zip(self.ks, self.mean, strict=True)).get(k, float("nan"))


def stability(points: np.ndarray, ks: Sequence[int], seed: int = 0) -> Stability:
    """The stability of each number of clusters.

    points: float [n, dim]; of more than MOST_COMPARED rows, so many are drawn. Memory and time do not grow with n
    beyond that. ks: numbers of clusters, each at least 2 and below a part's size.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    if len(points) > MOST_COMPARED:
        points = points[np.sort(rng.choice(len(points), MOST_COMPARED, replace=False))]
    size = round(SHARE * len(points))
    parts = [np.sort(rng.choice(len(points), size, replace=False)) for _ in range(PARTS)]
    means, errors = [], []
    with threadpool_limits(1):  # threads that wait for each other take ten times as long
        for k in ks:
            labels = np.full((PARTS, len(points)), -1)
            for number, rows in enumerate(parts):
                labels[number, rows] = KMeans(k, n_init=STARTS, random_state=number).fit_predict(points[rows])
            found = []
            for one, other in combinations(labels, 2):
                both = (one >= 0) & (other >= 0)
                found.append(adjusted_rand_score(one[both], other[both]))
            means.append(float(np.mean(found)))
            # The pairs share parts: their mean is as sure as one of PARTS independent numbers, not of 15.
            errors.append(float(np.std(found, ddof=1) / np.sqrt(PARTS)))
    return Stability(tuple(ks), tuple(means), tuple(errors))
