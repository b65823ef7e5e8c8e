"""How well a text finds its own partner among all partners: recall@1, recall@10 and nDCG@10, a number for each text.

Also what word counts alone find: TF-IDF and Okapi BM25. Each needs the pairs' own texts and nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..text.bm25 import Bm25
from ..text.normalisation import normalise
from ..text.words import words

DEEP = 10
RETRIEVAL_MEASURES = ("recall@1", "recall@10", "ndcg@10")


def distinct_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs that can be looked for: columns `text`, `positive` and whatever else there is, in their order.

    A pair whose two texts are the same is left out, and so is one that repeats an earlier text or positive. Texts are
    the same if they are equal without case, spacing and punctuation.
    """
    texts, positives = (table[name].map(normalise) for name in ("text", "positive"))
    kept = table[(texts != positives) & (texts != "") & (positives != "")]
    kept = kept[~texts[kept.index].duplicated()]
    return kept[~positives[kept.index].duplicated()]


def own_copies(pairs: pd.DataFrame) -> np.ndarray:
    """Whether a text (row) is also another pair's positive (column), bool [n, n]: that one is not counted as a miss."""
    texts, positives = (pairs[name].map(normalise).to_numpy() for name in ("text", "positive"))
    return texts[:, None] == positives[None]


def found_partners(likeness: np.ndarray, copies: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Measure -> its value for each text, float64 [n]. The partner of text i is document i, the only relevant one.

    likeness: [n, n], of text i (row) to document j. copies: documents left out of a text's ranking (own_copies). Ties
    count as their mean over all orders, as scikit-learn's nDCG does: a search that finds nothing gets no luck.
    """
    likeness = np.asarray(likeness, dtype=float)
    own = np.diag(likeness)[:, None]
    others = ~np.eye(len(likeness), dtype=bool)
    if copies is not None:
        others &= ~copies
    ahead = ((likeness > own) & others).sum(axis=1)
    level = ((likeness == own) & others).sum(axis=1)
    return {
        "recall@1": np.clip((1 - ahead) / (level + 1), 0, 1),
        "recall@10": np.clip((DEEP - ahead) / (level + 1), 0, 1),
        "ndcg@10": _mean_gain(ahead, level),
    }


def _mean_gain(ahead: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The mean of 1 / log2(rank + 1) over the ranks that a text's partner may have; 0 beyond rank DEEP."""
    gains = np.append(1 / np.log2(np.arange(1, DEEP + 1) + 1), 0.0)
    below = np.concatenate([[0.0], np.cumsum(gains)])  # [k]: the gains of the first k ranks together
    first, last = (np.minimum(rank, DEEP) for rank in (ahead, ahead + level + 1))
    return (below[last] - below[first]) / (level + 1)


def cosine_likeness(texts: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Cosines of each text's vector to each document's: float64 [n, n]."""
    units = [side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12)
             for side in (texts.astype(float), documents.astype(float))]  # fmt: skip
    return units[0] @ units[1].T


def tfidf_likeness(texts: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """Cosines of sublinear TF-IDF, whose document frequencies are those of `documents`: float64 [n, n]."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(map(words, documents)):
        return np.zeros((len(texts), len(documents)))
    counted = TfidfVectorizer(analyzer=words, sublinear_tf=True).fit(documents)
    return (counted.transform(texts) @ counted.transform(documents).T).toarray()


def by_words(pairs: pd.DataFrame) -> Mapping[str, np.ndarray]:
    """Name -> likeness of what counts words, of the pairs' texts to their positives."""
    both = pairs["text"].tolist(), pairs["positive"].tolist()
    return {"TF-IDF": tfidf_likeness(*both), "BM25": Bm25(both[1]).likeness(both[0])}
