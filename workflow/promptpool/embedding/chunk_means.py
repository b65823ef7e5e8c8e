"""Writes the vectors of texts in chunks: each chunk's goes to a scratch file, and their means to the task's file."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..artifacts.files import remove
from ..variants import Key
from .parallel_embedder import ParallelEmbedder
from .task_rows import means
from .vector_file import VectorFile


class PieceFile(VectorFile):
    """Vectors of chunks, which stay in the scratch directory: they are averaged, and then removed."""

    def read(self, rows: np.ndarray) -> dict[Key, np.ndarray]:
        """Some rows of every matrix, float32 [len(rows), dim]."""
        return {key: np.asarray(self._view(key)[rows], dtype=np.float32) for key in self.places}


def write_means(
    file: VectorFile,
    pieces: Sequence[Sequence[str]],
    tokens: Sequence[Sequence[int]],
    prompts: Mapping[str, str],
    parallel: ParallelEmbedder,
    size: int,
    progress: Callable[[int, float], None],
) -> int:
    """Writes the means of chunks to a file's first places, a row for each entry of `pieces`. Returns the tokens run.

    tokens: of each chunk. size: vectors in memory at a time. Equal chunks are embedded once. A killed job resumes.
    """
    unique = {piece: row for row, piece in enumerate(dict.fromkeys(piece for own in pieces for piece in own))}
    dims = {key: dim for key, (_, dim) in file.places.items()}
    scratch = pieces_scratch(file)
    held = PieceFile(scratch, scratch, file.file.parent.name, dims, len(unique), "float32")
    run = parallel.write(held, list(unique), prompts, progress)
    held.reread()
    start = 0
    while start < len(pieces):
        stop, count = start + 1, len(pieces[start])
        while stop < len(pieces) and count + len(pieces[stop]) <= size:
            count += len(pieces[stop])
            stop += 1
        rows = range(start, stop)
        if not file.has(rows):
            places = np.array([unique[piece] for own in pieces[start:stop] for piece in own])
            file.write(rows, means(held.read(places), tokens[start:stop]))
        start = stop
    return run


def pieces_scratch(file: VectorFile) -> str:
    """Where the chunks' vectors of an unfinished file are."""
    return f"{file.path}.pieces"


def drop_pieces(file: VectorFile) -> None:
    """Removes them once the file is whole."""
    remove(pieces_scratch(file))
