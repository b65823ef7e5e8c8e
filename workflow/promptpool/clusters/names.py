"""Names of clusters: the words that are frequent in one and rare in the others (class-based TF-IDF).

A word's weight in a cluster is its share of the cluster's words times log(1 + A / f), with f its count in all clusters
and A the mean number of words of a cluster (Grootendorst 2022, BERTopic, arXiv 2203.05794).
"""

from collections.abc import Sequence

import numpy as np

from ..text.words import words

IN_A_NAME = 3
FEWEST_TEXTS = 3  # that a word of a name occurs in: one text must not name a cluster


def top_words(texts: Sequence[str], labels: np.ndarray, count: int = 8) -> list[list[str]]:
    """The words of the highest weight of each cluster, the highest first; fewer if it has fewer.

    labels: int [n], 0 to k - 1. English stop words, numbers and single Latin letters are left out, and so are words of
    fewer than FEWEST_TEXTS texts, if the cluster has others.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    k = int(labels.max()) + 1
    counter = CountVectorizer(analyzer=lambda text: [word for word in words(text) if _names(word, ENGLISH_STOP_WORDS)])
    try:
        counts = counter.fit_transform(texts)
    except ValueError:  # no such word in any text
        return [[] for _ in range(k)]
    known = counter.get_feature_names_out()
    member = csr_matrix((np.ones(len(labels)), (labels, np.arange(len(labels)))), (k, len(labels)))
    of_cluster = (member @ counts).toarray()
    having = (member @ (counts > 0)).toarray()
    total = of_cluster.sum(axis=1, keepdims=True)
    weights = of_cluster / np.maximum(total, 1) * np.log1p(total.mean() / np.maximum(of_cluster.sum(axis=0), 1))
    found = []
    for row in range(k):
        often = (having[row] >= FEWEST_TEXTS) * weights[row]
        own = often if often.any() else weights[row]
        order = np.argsort(-own, kind="stable")[:count]
        found.append([str(known[place]) for place in order if own[place] > 0])
    return found


def _names(word: str, stop: frozenset[str]) -> bool:
    """Whether a word can name a cluster."""
    return word not in stop and not word.isdigit() and (len(word) > 1 or not word.isascii())


def names_of(found: Sequence[Sequence[str]]) -> list[str]:
    """A name for each cluster, from its top words: unlike the others'."""
    names: list[str] = []
    for number, own in enumerate(found):
        name = ", ".join(own[:IN_A_NAME]) or f"cluster {number + 1}"
        names.append(name if name not in names else f"{name} ({number + 1})")
    return names
