"""The scores of a query prompt and a document prompt together, from the vectors that their families have anyway."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..artifacts.files import sidecar_path
from ..artifacts.integrity import read_sealed
from ..embedding.vector_file import read_vectors
from ..templates import DOCUMENT, QUERY
from ..variants import split_adapter_id
from .scored_task import made_of_chunks


@dataclass(frozen=True)
class RoleScores:
    """Two prompts to score under one name, every pooling and layer. adapter: `base` or `name@step`.

    A text that MTEB asks for as a query gets its vector under the query prompt, every other one that under the
    document prompt. So a task without queries gets the document prompt's scores.
    """

    name: str
    query: str
    document: str
    query_vectors: str
    document_vectors: str
    model: str
    adapter: str
    chunks: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        sides: Mapping[str, Sequence[str]],
        files: Mapping[str, str],
        model: str,
        adapter: str,
        chunks: str | None = None,
    ) -> "RoleScores":
        """sides: role -> (prompt, its family); files: family -> a task's vectors; chunks: see FamilyScores."""
        (query, asking), (document, answering) = sides[QUERY], sides[DOCUMENT]
        return cls(name, query, document, files[asking], files[answering], model, adapter, chunks)

    @property
    def files(self) -> Sequence[str]:
        vectors = list(dict.fromkeys([self.query_vectors, self.document_vectors]))
        return [*vectors, *filter(None, [self.chunks])]

    def made_of(self) -> dict:
        query, document = (
            (read_sealed(sidecar_path(file)) or {})["digest"] for file in (self.query_vectors, self.document_vectors)
        )
        roles = {"name": self.name, QUERY: [self.query, query], DOCUMENT: [self.document, document]}
        return {"roles": roles, "model": self.model, "adapter": self.adapter, **made_of_chunks(self.chunks)}

    def scores(self, scorer) -> tuple[pd.DataFrame, list[str]]:
        from .scorer import require_same_texts

        for file in (self.query_vectors, self.document_vectors):
            require_same_texts(file, list(scorer.rows), scorer.texts)
        step = dict(zip(("adapter", "step"), split_adapter_id(self.adapter), strict=True))
        queries, documents = read_vectors(self.query_vectors), read_vectors(self.document_vectors)
        keys = [(pooling, layer) for prompt, pooling, layer in documents if prompt == self.document]

        def variants() -> Iterator[tuple[Mapping, str, tuple[np.ndarray, np.ndarray]]]:
            for pooling, layer in keys:
                columns = {"model": self.model, **step, "prompt": self.name, "pooling": pooling, "layer": layer}
                sides = documents[self.document, pooling, layer], queries[self.query, pooling, layer]
                yield columns, self.adapter, sides

        return scorer.score(variants(), len(keys), self.chunks)
