"""Which groups are in these texts? Clusters of their vectors, as many as are stable, with names and examples.

50,000 texts take little more than 2,000: principal axes, the number of clusters and the map come from a sample, and the
rest is assigned in mini-batches. No matrix of all texts by all texts is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import PromptpoolError
from ..scoring.map_texts import embed_2d
from .names import names_of, top_words
from .stability import SHARE, Stability, stability

FEWEST_CLUSTERED = 20  # fewer texts have no clusters
MOST_AXES = 50  # principal axes that are kept
MOST_FITTED = 10_000  # texts that the axes are fitted on
MOST_MAPPED = 1_500  # texts on the map
MOST_CLUSTERS = 15  # that are tried, if nothing else is asked
ASSIGNED_AT_ONCE = 2_048
EXAMPLES = 5


@dataclass(frozen=True)
class Clusters:
    """k groups of texts, the largest first.

    labels: each text's group, int [n]; names, words and examples: of each group, its name, its words, and its texts
    that are nearest to the centre; sizes: texts in each; place: x, y of the texts `mapped` (rows), -1 to 1; stability:
    of every k that was tried, None if k was given.
    """

    labels: np.ndarray
    names: list[str]
    words: list[list[str]]
    examples: list[list[str]]
    sizes: list[int]
    mapped: np.ndarray
    place: np.ndarray
    stability: Stability | None

    def table(self, texts: Sequence[str]) -> pd.DataFrame:
        """A row for each text: text, cluster (from 1), name."""
        names = [self.names[label] for label in self.labels]
        return pd.DataFrame({"text": list(texts), "cluster": self.labels + 1, "name": names})


def find_clusters(
    texts: Sequence[str], vectors: np.ndarray, k: int | None = None, most: int = MOST_CLUSTERS, seed: int = 0
) -> Clusters:
    """The groups of some texts by their vectors, by cosine.

    vectors: float [n, dim], of any model. k: how many groups; None takes the number that is stable, from 2 to `most`
    (`stability`). Raises PromptpoolError for fewer than FEWEST_CLUSTERED texts, another number of vectors, a vector
    that is not finite, and a k that is no number of groups.
    """
    vectors = np.asarray(vectors)
    _require(texts, vectors, k)
    points = principal(vectors, seed)
    tried = None
    if k is None:
        highest = min(most, int(SHARE * len(texts)) // 2)
        tried = stability(points, range(2, max(3, highest + 1)), seed)
        k = tried.best()
    labels, far = by_centres(points, k, seed)
    words = top_words(texts, labels)
    examples = []
    for group in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == group)
        nearest = rows[np.argsort(far[rows], kind="stable")][: 4 * EXAMPLES]  # some may be equal
        examples.append(list(dict.fromkeys(texts[row] for row in nearest))[:EXAMPLES])
    mapped = np.arange(len(texts))
    if len(texts) > MOST_MAPPED:
        mapped = np.sort(np.random.default_rng(seed).choice(len(texts), MOST_MAPPED, replace=False))
    sizes = np.bincount(labels).tolist()
    place = embed_2d(points[mapped], seed)
    return Clusters(labels, names_of(words), words, examples, sizes, mapped, place, tried)


def _require(texts: Sequence[str], vectors: np.ndarray, k: int | None) -> None:
    if len(texts) < FEWEST_CLUSTERED:
        raise PromptpoolError(f"clusters: {len(texts)} texts have no clusters; give at least {FEWEST_CLUSTERED}")
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise PromptpoolError(
            f"clusters: vectors of the shape {vectors.shape} for {len(texts)} texts; give a row a text"
        )
    if not np.isfinite(vectors).all():
        raise PromptpoolError("clusters: a vector is not finite; embed the texts again")
    if k is not None and not 2 <= k <= len(texts) // 2:
        raise PromptpoolError(
            f"clusters: k {k} is no number of clusters of {len(texts)} texts; give 2 to {len(texts) // 2}"
        )


def principal(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Vectors of length 1 along their MOST_AXES principal axes, centred: float32 [n, at most MOST_AXES]."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    rows = np.arange(len(vectors))
    if len(rows) > MOST_FITTED:
        rows = np.random.default_rng(seed).choice(len(rows), MOST_FITTED, replace=False)
    with threadpool_limits(1):
        axes = PCA(min(MOST_AXES, vectors.shape[1], len(rows) - 1), random_state=seed).fit(_unit_rows(vectors[rows]))
        parts = [
            axes.transform(_unit_rows(vectors[start : start + ASSIGNED_AT_ONCE]))
            for start in range(0, len(vectors), ASSIGNED_AT_ONCE)
        ]
    return np.concatenate(parts).astype(np.float32)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def by_centres(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(each row's group, the largest group first; its distance to the group's centre), by k-means in mini-batches."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = MiniBatchKMeans(k, batch_size=ASSIGNED_AT_ONCE, n_init=10, random_state=seed).fit(points)
    labels = found.predict(points)
    order = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
    order = order[: len(np.unique(labels))]  # a group that no text is nearest to is none
    place = np.zeros(k, dtype=int)
    place[order] = np.arange(len(order))
    far = np.linalg.norm(points - found.cluster_centers_[labels], axis=1)
    return place[labels], far
