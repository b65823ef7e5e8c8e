"""How far a clustering's score would move with other documents: they are drawn again, and the V-measure is computed in
the contingency tables of the clusters that MTEB found (Efron and Tibshirani 1993, chapter 6).

The clusters stay as they are, so no k-means runs again. What it adds is seen in the spread of a task's experiments
(`Part.variances`).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from .bootstrap import REPLICATES


def document_counts(documents: int, place: str) -> np.ndarray:
    """How often each replicate draws each document, uint8 [documents, 1 + REPLICATES]. The first column is all ones:
    the documents as they are.

    place: names the task, split and subset. All variants get the same counts there, so that replicates are paired;
    another place gets others, so that errors of tasks stay independent.
    """
    seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    counts = np.ones((documents, 1 + REPLICATES), dtype=np.uint8)
    for column in range(1, 1 + REPLICATES):
        counts[:, column] = np.bincount(rng.integers(0, documents, documents), minlength=documents)
    return counts


def weighted_v_measures(labels: np.ndarray, clusters: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The V-measure under each column of counts, float64 [columns].

    labels and clusters: of the drawn documents, codes from 0 [drawn]; rows: their rows in `counts` [drawn], repeated
    where a document was drawn again; counts: [documents, columns].
    """
    width = int(clusters.max()) + 1
    cells, places = _codes(labels * width + clusters)
    used, rows = _codes(rows)
    ones = np.ones(len(rows), np.float32)
    joint = csr_matrix((ones, (places, rows)), (len(cells), len(used))) @ counts[used].astype(np.float32)
    of_label, of_cluster = (_sums(joint, codes) for codes in (cells // width, cells % width))
    total = np.maximum(of_label.sum(axis=0, dtype=float), 1)  # of very few documents, all may be left out
    both, label, cluster = (np.log(total) - _x_log_x(table) / total for table in (joint, of_label, of_cluster))
    whole = label + cluster
    # Homogeneity and completeness are the mutual information over either entropy. Their harmonic mean is this.
    return np.where(whole > 1e-9, 2 * (1 - both / np.where(whole > 1e-9, whole, 1)), 1.0)


def _codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in order, and each value's place among them, as np.unique has them, without sorting."""
    there = np.zeros(int(values.max()) + 1, dtype=bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def _sums(joint: np.ndarray, codes: np.ndarray) -> np.ndarray:
    groups, places = _codes(codes)
    ones = np.ones(len(places), joint.dtype)
    return csr_matrix((ones, (places, np.arange(len(places)))), (len(groups), len(places))) @ joint


def _x_log_x(table: np.ndarray) -> np.ndarray:
    return (table * np.log(np.maximum(table, 1))).sum(axis=0, dtype=float)  # counts are whole numbers: 0 gives 0


def of_clusters(
    labels: Sequence[np.ndarray], clusters: Sequence[np.ndarray], rows: Sequence[np.ndarray], counts: np.ndarray
) -> np.ndarray:
    """V-measures of several clusterings, float64 [clusterings, 1 + REPLICATES]: as they are, then with the documents
    drawn again. The arguments are lists of what `weighted_v_measures` takes; all share the documents' counts.
    """
    return np.stack([
        weighted_v_measures(label, np.asarray(own), place, counts)
        for label, own, place in zip(labels, clusters, rows, strict=True)
    ])  # fmt: skip
