"""The scores of one checkpoint: every task, prompt, pooling and layer."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import sidecar_path
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import listed_files, write_manifest
from ..embedding.vector_file import read_vectors
from ..variants import split_adapter_id
from .role_scores import RoleScores
from .score_parts import ScorePart, part_of, score_parts
from .scored_task import ScoredTask, chunk_table_of, made_of_chunks


@dataclass(frozen=True)
class FamilyScores:
    """One file of vectors to score, every prompt, pooling and layer. adapter: `base` or `name@step`; chunks: the table
    of chunks, if each of these has a vector of its own.
    """

    vectors: str
    model: str
    adapter: str
    chunks: str | None = None

    @property
    def files(self) -> Sequence[str]:
        return [self.vectors, *filter(None, [self.chunks])]

    def made_of(self) -> dict:
        digest = (read_sealed(sidecar_path(self.vectors)) or {})["digest"]  # listed_files has verified it
        return {"vectors": digest, "model": self.model, "adapter": self.adapter, **made_of_chunks(self.chunks)}

    def scores(self, scorer) -> tuple[pd.DataFrame, list[str]]:
        from .scorer import require_same_texts

        require_same_texts(self.vectors, list(scorer.rows), scorer.texts)
        name, step = split_adapter_id(self.adapter)
        found = read_vectors(self.vectors)  # one by one: a large task's matrices may not fit into memory together

        def variants() -> Iterator[tuple[Mapping, str, np.ndarray]]:
            for key, matrix in found.items():
                columns = dict(zip(("prompt", "pooling", "layer"), key, strict=True))
                yield {"model": self.model, "adapter": name, "step": step, **columns}, self.adapter, matrix

        return scorer.score(variants(), len(found), self.chunks)


def score_checkpoint(
    out: str,
    tasks: Sequence[ScoredTask],
    *,
    vectors: str,
    model: str,
    adapter: str,
    roles: Mapping[str, Mapping] | None = None,
    max_sim: Sequence[str] = (),
    workers: int = 1,
    code: str = "",
) -> None:
    """Writes one checkpoint's scores, a table for each task and family at {task}/{family}.parquet beside `out`, MTEB's
    results beside each, and at `out` the manifest that lists them.

    vectors: the manifest of its vectors; roles: as `Study.scored_roles` returns them, each with a table
    {task}/roles-{name}.parquet; max_sim: tasks whose documents are as similar as their most similar chunk. Scores that
    still depend on the same are kept; the rest is scored by `workers` processes. Raises PromptpoolError for vectors
    that are not what the manifest lists.
    """
    started = time.time()
    parts: list[ScorePart] = []
    for task in tasks:
        files = {Path(file).stem: file for file in listed_files([vectors], ".safetensors", [task.name])}
        chunks = chunk_table_of(vectors, task.name, max_sim)
        scored = {family: FamilyScores(file, model, adapter, chunks) for family, file in files.items()}
        for name, sides in (roles or {}).items():
            scored[f"roles-{name}"] = RoleScores.of(name, sides, files, model, adapter, chunks)
        for name, one in scored.items():
            parts.append(part_of(str(Path(out).parent / task.name / f"{name}.parquet"), task, one, out, code))
    computed = score_parts(parts, workers)
    inputs = [vectors, *(path for task in tasks for path in (task.labelled, task.texts))]
    files = [file for part in parts for file in part.files]
    write_manifest(
        out, files, computed=computed, inputs=inputs, spec={"model": model, "adapter": adapter}, started=started
    )
