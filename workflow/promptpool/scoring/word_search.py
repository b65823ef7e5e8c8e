"""BM25 in the place of a model, so that MTEB ranks and measures it as it does vectors."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..tasks.encoders import LookupEncoder
from ..text.bm25 import Bm25


class Bm25Encoder(LookupEncoder):
    """A text's vector is its number alone, and the similarity of two numbers is BM25 of their texts.

    So the ranking, ties and measures are MTEB's own, and no dense matrix as wide as the vocabulary is made. A task's
    subsets share one index.

    rows: text -> its number; documents: those that MTEB asks for as documents; name: as in LookupEncoder.
    """

    def __init__(self, rows: Mapping[str, int], documents: Sequence[str], name: str):
        numbers = np.arange(len(rows), dtype=np.float64)[:, None]
        super().__init__(rows, numbers.astype(np.float32), name)
        index = Bm25(documents)
        self.counts, self.weights = index.counted(list(rows)), index.weights
        self.places = np.full(len(rows), -1)
        self.places[[rows[text] for text in documents]] = np.arange(len(documents))

    def similarity(self, a, b) -> torch.Tensor:
        """BM25 of each query's number (row) and document's number (column): float32 [len(a), len(b)]."""
        queries, documents = (np.asarray(side).reshape(len(side), -1)[:, 0].astype(int) for side in (a, b))
        found = self.counts[queries] @ self.weights[self.places[documents]].T
        return torch.from_numpy(found.toarray().astype(np.float32))
