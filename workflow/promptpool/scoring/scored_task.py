"""What scoring reads of a task. Imports no MTEB, so that a job that has nothing to score starts fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
