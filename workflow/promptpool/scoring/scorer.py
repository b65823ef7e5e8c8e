"""One task's scores of many matrices: vectors looked up by text, scored by unmodified MTEB. Returns tidy rows and
MTEB's own results.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..artifacts.files import atomic_path, sidecar_path
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import texts_digest
from ..errors import PromptpoolError
from ..tasks.encoders import LookupEncoder
from ..tasks.mteb_tasks import TaskSource
from .chunk_search import ChunkEncoder, ChunkPlaces
from .mteb_results import SCORE_COLUMNS, beyond_rows, result_line, tidy_rows
from .replicates import observed
from .scored_task import ScoredTask

# Score columns, MTEB's revision, and a matrix [n, dim]; with roles two, of the texts as documents and as queries.
Variants = Iterable[tuple[Mapping, str, np.ndarray | tuple[np.ndarray, np.ndarray]]]


class Scorer:
    """One task, ready for many variants: its data is loaded and its texts are indexed once."""

    def __init__(self, task: ScoredTask):
        self.task, self.texts = task.name, task.texts
        known = pd.read_parquet(task.texts, columns=["text"])["text"]
        self.rows = {text: row for row, text in enumerate(known)}
        labelled = pd.read_parquet(task.labelled) if task.spec["source"] != "mteb" else None
        self.source = TaskSource(task.name, task.spec, labelled)

    def score(
        self, variants: Variants, total: int | None = None, chunks: str | None = None
    ) -> tuple[pd.DataFrame, list[str]]:
        """Rows of SCORE_COLUMNS, and MTEB's results as lines of JSON. The rows of a matrix are in the order of the
        task's recorded texts, or of their chunks, which the table `chunks` then lists. Only one matrix is in memory at
        a time.
        """
        places = ChunkPlaces.read(chunks) if chunks else None
        rows: list[dict] = []
        lines: list[str] = []
        memory: dict = {}  # what all variants share
        with threadpool_limits(1):  # k-means with two threads on shared cores takes 20 times longer
            for columns, revision, matrix in tqdm(variants, total=total, desc=f"score {self.task}", unit="variant"):
                sides = matrix if isinstance(matrix, tuple) else (matrix,)
                for side in sides:
                    self._require_sound(side, columns, len(places.tokens) if places else len(self.rows))
                known = sides[0], mteb_name(columns), revision, *sides[1:]
                encoder = ChunkEncoder(self.rows, places, *known) if places else LookupEncoder(self.rows, *known)
                own, line = self._measured(encoder, columns, memory)
                rows += own
                lines.append(line)
        return pd.DataFrame(rows, columns=SCORE_COLUMNS), lines

    def score_encoder(self, encoder: LookupEncoder, columns: Mapping) -> tuple[pd.DataFrame, list[str]]:
        """The same of one encoder that has no matrix of vectors."""
        with threadpool_limits(1):
            rows, line = self._measured(encoder, columns, {})
        return pd.DataFrame(rows, columns=SCORE_COLUMNS), [line]

    def _measured(self, encoder: LookupEncoder, columns: Mapping, memory: dict) -> tuple[list[dict], str]:
        task = self.source.fresh()
        result, beyond = observed(encoder, task, memory)
        rows = tidy_rows(result, task.metadata.main_score, columns, self.task)
        for (split, subset, level, metric), values in beyond.items():
            base = {**columns, "task": self.task, "split": split, "subset": subset, "level": level}
            rows += beyond_rows({**base, "metric": metric}, values)
        return rows, result_line(encoder, result, columns)

    def _require_sound(self, matrix: np.ndarray, columns: Mapping, rows: int) -> None:
        rows_are = "texts" if rows == len(self.rows) else "chunks of texts"
        if len(matrix) != rows:
            raise PromptpoolError(
                f"task {self.task}: {len(matrix)} vectors for {rows} {rows_are} of {self.texts}; remove "
                "the embeddings and run again"
            )
        if not np.isfinite(matrix).all():
            raise PromptpoolError(f"task {self.task}: {mteb_name(columns)} has a vector that is not finite")


def require_same_texts(vectors: str, texts: Sequence[str], recorded: str) -> None:
    """Raises PromptpoolError if an embeddings file is of other texts, or of these in another order.

    texts: a task's texts; recorded: the file that holds them, for the error.
    """
    try:
        digest = (read_sealed(sidecar_path(vectors)) or {}).get("texts_digest")
    except FileNotFoundError:
        return
    if digest not in (None, texts_digest(texts)):
        raise PromptpoolError(f"{vectors}: is of other texts than {recorded} holds now; remove it and run again")


def mteb_name(columns: Mapping) -> str:
    """A variant's name in place of a model's in MTEB (after `promptpool/`). The checkpoint is its revision."""
    if columns["adapter"] == "baseline":
        return f"{columns['model']}.baseline"
    name = f"{columns['model']}.{columns['prompt']}.{columns['pooling']}.L{columns['layer']}"
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name)  # it becomes the name of a folder


def write_lines(path: str, lines: Sequence[str]) -> None:
    """Writes MTEB's results, one per line."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
