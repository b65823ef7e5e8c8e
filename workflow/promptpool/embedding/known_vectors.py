"""Texts that several tasks share: whose vectors another task's file of the same family already holds."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ..variants import Key
from .vector_file import VectorFile, Vectors

Place = tuple[str, int]  # task, row


class SharedTexts:
    """Where else each task's texts are. tasks: task -> its texts, each once."""

    def __init__(self, tasks: Mapping[str, Sequence[str]]):
        first: dict[bytes, Place] = {}
        self._places: dict[bytes, list[Place]] = {}  # only of texts that several tasks have
        self._shared: dict[str, dict[int, bytes]] = {task: {} for task in tasks}
        for task, texts in tasks.items() if len(tasks) > 1 else ():
            for row, text in enumerate(texts):
                name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
                if name not in first:
                    first[name] = (task, row)
                    continue
                places = self._places.setdefault(name, [first[name]])
                places.append((task, row))
                for where, number in places:
                    self._shared[where][number] = name

    def sources(self, task: str, held: Collection[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Another task -> rows of this task, int [n], and the same texts' rows there, int [n]. held: where to look."""
        found: dict[str, list[tuple[int, int]]] = {}
        for row, name in self._shared[task].items():
            place = next((place for place in self._places[name] if place[0] in held), None)
            if place:
                found.setdefault(place[0], []).append((place[1], row))
        return {
            other: (np.array([here for _, here in rows]), np.array([there for there, _ in rows]))
            for other, rows in ((other, sorted(rows)) for other, rows in found.items())
        }


def written_order(rows: int, sources: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray | None:
    """The order in which a file's rows are written: those to embed, then those to copy. None if none is copied."""
    if not sources:
        return None
    copied = np.concatenate([here for here, _ in sources.values()])
    fresh = np.setdiff1d(np.arange(rows), copied)
    return np.concatenate([fresh, copied])


def copy_known(
    file: VectorFile,
    start: int,
    sources: Mapping[str, tuple[np.ndarray, np.ndarray]],
    paths: Mapping[str, str],
    size: int,
) -> int:
    """Copies known vectors to a file's places from `start` on, at most `size` texts at a time. Returns how many.

    paths: task -> its vectors of the same family.
    """
    copied = 0
    for other, (_, there) in sources.items():
        vectors = Vectors(paths[other])
        for part in blocks(there, size):
            rows = range(start + copied, start + copied + len(part))
            if not file.has(rows):
                file.write(rows, read_rows(vectors, part))
            copied += len(part)
    return copied


def blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def read_rows(vectors: Vectors, rows: np.ndarray) -> dict[Key, np.ndarray]:
    """Some rows of every matrix of a file, float32 [len(rows), dim]."""
    return {key: vectors.rows(key, rows) for key in vectors}
