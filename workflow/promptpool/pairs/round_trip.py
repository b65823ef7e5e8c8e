"""The round-trip filter: a text must be found again, among many, by the query that was written for it.

A query that fits another text better, or none, would teach that two texts belong together that do not (Promptagator's
consistency filter, arXiv 2209.11755).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..artifacts.files import text_digest
from ..errors import PromptpoolError
from ..text.bm25 import Bm25
from ..text.normalisation import normalise

CELLS_RANKED = 1 << 24  # of the matrix of likeness that are held at once
TIE = 1e-6  # scores that are no further apart are equal

TextVectors = Callable[[Sequence[str]], np.ndarray]


def round_trip_ranks(
    queries: Sequence[str],
    own: Sequence[str],
    texts: Sequence[str],
    spec: Mapping,
    where: str,
    encode: tuple[TextVectors, TextVectors] | None = None,
) -> np.ndarray:
    """The rank of each query's own text among `among` texts of the corpus: int [n], 1 if it is the best.

    own: of each query, the text that it was written for; texts: the corpus. The other texts are the first ones by
    seeded digest, the same for every query. One that is as good as the own text is before it, so a query that finds
    nothing has the last rank. spec: `among`, `within`, `seed`. encode: of queries and of texts, to vectors whose
    cosines rank; None ranks by words, by BM25 with the statistics of the whole corpus.
    Raises PromptpoolError, naming the key `where`, if the corpus is so small that every query would pass.
    """
    known: dict[str, str] = {}
    for text in [*texts, *own]:
        known.setdefault(normalise(text), text)
    pool = sorted(known, key=lambda key: text_digest(f"round-trip:{spec['seed']}:{key}"))[: spec["among"]]
    if len(pool) <= spec["within"]:
        raise PromptpoolError(
            f"{where}.within: the corpus has {len(pool)} texts, so each is within the first {spec['within']}; "
            "lower it, or take a larger corpus"
        )
    keys = [normalise(text) for text in own]
    place = {key: number for number, key in enumerate(dict.fromkeys([*pool, *keys]))}
    mine = np.array([place[key] for key in keys], dtype=np.int64)
    documents = [known[key] for key in place]
    if encode:
        left, right = (_unit(side(texts)) for side, texts in zip(encode, (list(queries), documents), strict=True))
    else:
        search = Bm25([*documents, *(text for key, text in known.items() if key not in place)])
        left, right = search.counted(queries), search.weights[: len(documents)]
    ranks = np.empty(len(mine), dtype=np.int64)
    step = max(1, CELLS_RANKED // len(pool))
    for start in range(0, len(mine), step):
        part, to = left[start : start + step], mine[start : start + step]
        ahead = _dense(part @ right[: len(pool)].T) >= _by_row(part, right[to])[:, None] - TIE
        # Not compared with itself. An own text from outside the pool takes the place of the last one.
        ahead[np.arange(len(to)), np.minimum(to, len(pool) - 1)] = False
        ranks[start : start + step] = 1 + ahead.sum(axis=1)
    return ranks


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _dense(likeness) -> np.ndarray:
    return likeness if isinstance(likeness, np.ndarray) else likeness.toarray()


def _by_row(one, other) -> np.ndarray:
    """The product of each row of one and the same row of the other: float [n]. Both dense, or both sparse."""
    if isinstance(one, np.ndarray):
        return np.einsum("nd,nd->n", one, other)
    return np.asarray(one.multiply(other).sum(axis=1)).ravel()
