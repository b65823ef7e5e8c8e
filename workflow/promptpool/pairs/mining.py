"""Hard negatives: for each text, the candidates that are most like it and are no partner of it.

Texts that look alike may mean the same, so three bounds keep false negatives out: a margin below the own positive, by
difference or by share (Moreira et al., 2024, arXiv 2407.15831), an absolute bound, and a range of ranks.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..text.normalisation import normalise
from ..text.words import words

CELLS = 1 << 24  # of the matrix of similarities that are held at once


class Mined(NamedTuple):
    """Arrays of one length, an entry for each negative found, by row and then by rank."""

    rows: np.ndarray  # int: the text
    documents: np.ndarray  # int: the candidate
    ranks: np.ndarray  # int, 1 for the most similar candidate that is no partner
    similarities: np.ndarray  # float32, cosines


def mine(
    queries,
    documents,
    own: np.ndarray,
    barred: tuple[np.ndarray, np.ndarray],
    bounds: Mapping,
    similarity: np.ndarray | None = None,
) -> Mined:
    """At most `count` candidates of each text: the most similar within the bounds, and similar at all (above 0).

    queries [n, dim], documents [m, dim]: rows of length 1, dense or scipy's sparse; own: of each text, the document
    that is its positive. barred: (rows, documents) that are partners of a row, so they neither rank nor count.
    bounds: `count`; `ranks`, the first and last that count; `margin`, `relative_margin`, `max_similarity`, or None: a
    negative's cosine is at most own - margin, own x (1 - relative_margin), and max_similarity. similarity: float [n]
    that is filled with the cosines of the texts and their own positives.
    """
    first, last = bounds["ranks"]
    step = max(1, CELLS // documents.shape[0])
    order = np.argsort(barred[0], kind="stable")
    barred_rows, barred_documents = (np.asarray(side)[order] for side in barred)
    found = []
    for start in range(0, len(own), step):
        stop = min(start + step, len(own))
        likeness = queries[start:stop] @ documents.T
        likeness = likeness if isinstance(likeness, np.ndarray) else likeness.toarray()
        to_own = likeness[np.arange(stop - start), own[start:stop]]
        limits = upper_bounds(to_own, bounds)
        if similarity is not None:
            similarity[start:stop] = to_own
        low, high = np.searchsorted(barred_rows, [start, stop])
        likeness[barred_rows[low:high] - start, barred_documents[low:high]] = -np.inf
        found.append(_nearest(likeness, limits, first, last, bounds["count"], start))
    return Mined(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def upper_bounds(own: np.ndarray, bounds: Mapping) -> np.ndarray:
    """How similar a negative may be at most, for each text: float [n]. own: the cosines of their positives."""
    limits = np.full(len(own), np.inf if bounds["max_similarity"] is None else bounds["max_similarity"])
    if bounds["margin"] is not None:
        limits = np.minimum(limits, own - bounds["margin"])
    if bounds["relative_margin"] is not None:
        limits = np.minimum(limits, own * (1 - bounds["relative_margin"]))
    return limits


def _nearest(likeness: np.ndarray, limits: np.ndarray, first: int, last: int, count: int, start: int) -> Mined:
    nearest = min(last, likeness.shape[1])
    places = np.argpartition(-likeness, nearest - 1, axis=1)[:, :nearest]
    places.sort(axis=1)  # equal ones in the candidates' order
    values = np.take_along_axis(likeness, places, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    places, values = np.take_along_axis(places, order, 1), np.take_along_axis(values, order, 1)
    ranks = np.arange(1, nearest + 1)
    fit = (values > 0) & (values <= limits[:, None]) & (ranks >= first)
    rows, columns = np.nonzero(fit & (np.cumsum(fit, axis=1) <= count))
    return Mined(rows + start, places[rows, columns], ranks[columns], values[rows, columns].astype(np.float32))


def partners(
    texts: Sequence[str], positives: Sequence[str], sources: Sequence[str], candidates: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, candidates) of what is no negative of a pair: its text, any positive of its text, and whatever was written
    from the same source. candidates: normalised text -> its number.
    """
    keys = [normalise(text) for text in texts]
    places = [candidates.get(normalise(positive)) for positive in positives]
    by_text: dict[str, set[int]] = {}
    by_source: dict[str, set[int]] = {}
    for key, source, place in zip(keys, sources, places, strict=True):
        if place is not None:
            by_text.setdefault(key, set()).add(place)
            by_source.setdefault(source, set()).add(place)
    rows, found = [], []
    for row, (key, source) in enumerate(zip(keys, sources, strict=True)):
        own = by_text.get(key, set()) | by_source.get(source, set())
        if key in candidates:
            own = own | {candidates[key]}
        rows += [row] * len(own)
        found += sorted(own)
    return np.array(rows, dtype=np.int64), np.array(found, dtype=np.int64)


def word_vectors(texts: Sequence[str], documents: Sequence[str]) -> tuple[object, object]:
    """Both sides' sublinear TF-IDF, scipy's sparse matrices with rows of length 1, by the documents' frequencies."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(analyzer=words, sublinear_tf=True, dtype=np.float32).fit(documents)
    return counted.transform(texts), counted.transform(documents)
