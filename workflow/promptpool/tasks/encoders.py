"""Stand-ins for a model: one looks vectors up by text, one records what MTEB asks for."""

import os
from collections.abc import Mapping

# MTEB maps a retrieval corpus again for every variant: so many progress bars would bury our own.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import numpy as np
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.similarity_functions import cos_sim, pairwise_cos_sim
from mteb.types import PromptType

from ..errors import PromptpoolError


class LookupEncoder:
    """Answers MTEB with precomputed vectors, by text.

    rows: text -> row of `matrix` (float32 [n, dim]); many encoders can share it. name and revision: the variant's in
    MTEB's own results, in place of a model's. Similarity is MTEB's own cosine. queries: the vectors of texts that MTEB
    asks for as queries (its `prompt_type`); None if these are in `matrix` too. All others are documents, as they are
    for an exported model's `encode`.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        matrix: np.ndarray,
        name: str,
        revision: str = "local",
        queries: np.ndarray | None = None,
    ):
        self.rows, self.matrix = rows, matrix
        self.queries = matrix if queries is None else queries
        known = {"name": f"promptpool/{name}", "revision": revision, "similarity_fn_name": ScoringFunction.COSINE}
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=known)

    def encode(self, inputs, *, task_metadata=None, hf_split=None, hf_subset=None, prompt_type=None, **_) -> np.ndarray:
        """float32 [n, dim]. Raises PromptpoolError for a text that was never recorded."""
        places = []
        for batch in inputs:
            for text in batch["text"]:
                place = self.rows.get(text)
                if place is None:
                    raise PromptpoolError(
                        f"task {task_metadata.name}: no vector for {text[:60]!r}; its recorded texts are stale, "
                        f"delete the task's texts.parquet and run again"
                    )
                places.append(place)
        matrix = self.queries if prompt_type == PromptType.query else self.matrix
        return np.asarray(matrix[places], dtype=np.float32)

    def similarity(self, a, b):
        return cos_sim(a, b)

    def similarity_pairwise(self, a, b):
        return pairwise_cos_sim(a, b)


class RecordingEncoder(LookupEncoder):
    """Records what MTEB asks for, and answers with noise that is the same for the same text.

    texts: text -> the prompt types under which it was asked for (MTEB's `query` and `document`; none for other tasks).
    asked: "split/subset" -> how many texts, including repeats. Empty texts are kept, because MTEB asks for them too.
    """

    def __init__(self, dim: int = 8):
        super().__init__({}, np.empty((0, dim), np.float32), "recorder")
        self.dim = dim
        self.texts: dict[str, set[str]] = {}
        self.asked: dict[str, int] = {}

    def encode(self, inputs, *, task_metadata=None, hf_split=None, hf_subset=None, prompt_type=None, **_) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        place = f"{hf_split}/{hf_subset}"
        self.asked[place] = self.asked.get(place, 0) + len(texts)
        for text in texts:
            kinds = self.texts.setdefault(text, set())
            if prompt_type is not None:
                kinds.add(str(getattr(prompt_type, "value", prompt_type)))
        noise = np.random.default_rng(0).standard_normal((len(self.texts), self.dim)).astype(np.float32)
        rows = {text: row for row, text in enumerate(self.texts)}
        return noise[[rows[text] for text in texts]]
