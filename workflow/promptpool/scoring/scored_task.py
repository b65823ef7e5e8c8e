"""What scoring reads of a task. Imports no MTEB, so that a job that has nothing to score starts fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.files import sidecar_path
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import listed_file


@dataclass(frozen=True)
class ScoredTask:
    """A task of the config by its name, with its entry there and the two parquets that its stage wrote."""

    name: str
    spec: Mapping
    labelled: str
    texts: str


def scored_tasks(specs: Mapping[str, Mapping], labelled: Sequence[str], texts: Sequence[str]) -> list[ScoredTask]:
    """The tasks of a job. specs: task -> its entry of the config; the files are in the same order."""
    return [
        ScoredTask(name, spec, str(Path(own)), str(Path(known)))
        for (name, spec), own, known in zip(specs.items(), labelled, texts, strict=True)
    ]


def chunk_table_of(vectors: str, task: str, max_sim: Sequence[str]) -> str | None:
    """The table of a task's chunks, if `max_sim` names the task, else None. vectors: the manifest that lists it."""
    return listed_file(vectors, f"{task}/chunks.parquet") if task in max_sim else None


def made_of_chunks(chunks: str | None) -> dict:
    """What a table of chunks adds to that on which scores depend."""
    return {"chunks": (read_sealed(sidecar_path(chunks)) or {})["digest"]} if chunks else {}
