"""Okapi BM25: how well documents fit a query by the words they share."""

from collections.abc import Sequence

import numpy as np

from .words import words

K1, B = 1.2, 0.75  # Lucene's defaults


class Bm25:
    """BM25 over `documents`, whose words alone say how rare a word is and how long a document.

    The formula is that of Robertson and Zaragoza (2009, "The Probabilistic Relevance Framework: BM25 and Beyond",
    section 3) with Lucene's inverse document frequency, which is never negative.
    """

    def __init__(self, documents: Sequence[str]):
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer

        self.counter = CountVectorizer(analyzer=words)
        if not any(map(words, documents)):  # nothing can be found
            self.counter = None
            self.weights = csr_matrix((len(documents), 1))
            return
        counts = self.counter.fit_transform(documents).tocoo()
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        having = np.bincount(counts.col, minlength=counts.shape[1])
        rarity = np.log1p((len(documents) - having + 0.5) / (having + 0.5))
        norms = K1 * (1 - B + B * lengths / lengths.mean())
        weights = rarity[counts.col] * counts.data * (K1 + 1) / (counts.data + norms[counts.row])
        self.weights = csr_matrix((weights, (counts.row, counts.col)), counts.shape)  # documents x words

    def counted(self, queries: Sequence[str]):
        """How often each word of the documents is in each query: a sparse matrix, queries x words."""
        from scipy.sparse import csr_matrix

        return self.counter.transform(queries) if self.counter else csr_matrix((len(queries), 1))

    def likeness(self, queries: Sequence[str]) -> np.ndarray:
        """The score of each document (column) for each query (row): float64 [queries, documents]."""
        return (self.counted(queries) @ self.weights.T).toarray()
