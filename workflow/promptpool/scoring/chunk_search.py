"""Search in documents that are embedded in chunks: a document is as similar to a query as its most similar chunk.

MTEB ranks and measures it as it does vectors. A query has one vector: the mean of its chunks, as with `mean`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from mteb.similarity_functions import cos_sim
from mteb.types import PromptType

from ..embedding.task_rows import means
from ..tasks.encoders import LookupEncoder

CHUNK_CELLS = 1 << 26  # of the matrix of similarities to chunks that is held at once


@dataclass(frozen=True)
class ChunkPlaces:
    """Where each text's chunks lie among all: starts and counts, int [texts]. tokens: of each chunk, int [chunks]."""

    starts: np.ndarray
    counts: np.ndarray
    tokens: np.ndarray

    @classmethod
    def read(cls, path: str) -> "ChunkPlaces":
        """From a table of chunks (embedding.task_rows)."""
        table = pd.read_parquet(path, columns=["text", "tokens"])
        counts = np.bincount(table["text"])
        return cls(np.cumsum(counts) - counts, counts, table["tokens"].to_numpy())

    def rows(self, texts: np.ndarray) -> np.ndarray:
        """The chunks of some texts, in their order."""
        counts = self.counts[texts]
        first = np.repeat(self.starts[texts] - (np.cumsum(counts) - counts), counts)
        return first + np.arange(counts.sum())


class ChunkEncoder(LookupEncoder):
    """A document's vector is its number alone, a query's is the mean of its chunks; `similarity` looks up the chunks.

    rows: text -> its number; places: of its chunks; matrix: the chunks' vectors, float32 [chunks, dim]; queries: the
    same of texts that MTEB asks for as queries, None if these are in `matrix` too.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        places: ChunkPlaces,
        matrix: np.ndarray,
        name: str,
        revision: str = "local",
        queries: np.ndarray | None = None,
    ):
        super().__init__(rows, np.arange(len(rows), dtype=np.float64)[:, None], name, revision)
        self.places, self.chunks = places, matrix
        self.asking = matrix if queries is None else queries

    def encode(self, inputs, *, prompt_type=None, **about) -> np.ndarray:
        """float32 [n, dim] of queries; the numbers of documents, float32 [n, 1]: exact below 2 to the 24."""
        numbers = super().encode(inputs, prompt_type=PromptType.document, **about)
        if prompt_type != PromptType.query:
            return numbers
        texts = numbers[:, 0].astype(int)
        rows = self.places.rows(texts)
        tokens = np.split(self.places.tokens[rows], np.cumsum(self.places.counts[texts])[:-1])
        return means({"query": self.asking[rows]}, tokens)["query"]

    def similarity(self, a, b) -> torch.Tensor:
        """The largest cosine of each query (row) to a chunk of each document (column): float32 [len(a), len(b)]."""
        documents = np.asarray(b).reshape(len(b), -1)[:, 0].astype(int)
        step = max(1, CHUNK_CELLS // max(1, len(a) * int(self.places.counts.max())))
        found = []
        for start in range(0, len(documents), step):
            own = documents[start : start + step]
            counts = self.places.counts[own]
            likeness = np.asarray(cos_sim(a, self.chunks[self.places.rows(own)]))
            found.append(np.maximum.reduceat(likeness, np.cumsum(counts) - counts, axis=1))
        return torch.from_numpy(np.concatenate(found, axis=1))
