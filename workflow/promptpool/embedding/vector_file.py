"""Embedding matrices on disk: safetensors with keys "prompt/pooling/layer", written in parts and read lazily."""

import io
import json
import os
import re
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import safe_open

from ..artifacts.files import atomic_path, remove
from ..errors import PromptpoolError
from ..variants import Key, key_text, parse_key

DTYPES = {"float32": ("F32", np.float32), "float16": ("F16", np.float16)}
JOURNAL = re.compile(rb"(\d+) (\d+) (\d+)")  # first row, row after the last, checksum
FEW = 100_000  # texts below which `auto` keeps float32


def stored_dtype(storage: str, texts: int) -> str:
    """`auto` -> float32 for a task of fewer than 100,000 texts, float16 for a larger one."""
    return ("float32" if texts < FEW else "float16") if storage == "auto" else storage


class VectorFile:
    """A safetensors file that is filled in any order and appears at its path only when it is complete.

    The file grows in `scratch`, beside a journal of the rows that are safely on disk and their checksums. Opened again
    with the same `made_of`, it resumes; anything else in `scratch` is removed. Several processes may write to it, each
    its own rows.
    """

    def __init__(
        self,
        path: str | Path,
        scratch: str | Path,
        made_of: str,
        dims: Mapping[Key, int],
        rows: int,
        dtype: str,
        order: np.ndarray | None = None,
    ):
        """dims: the width of each variant's vectors; rows: of each matrix; dtype: float32 or float16; order: the row
        that each place is written to, int [rows], if places are not rows. Another order needs another `made_of`.
        """
        self.path, self.scratch, self.rows = Path(path), Path(scratch), rows
        self.order = order
        self.dtype = dtype
        own = self.scratch / made_of
        for other in self.scratch.glob("*"):
            if other != own:
                remove(other)
        own.mkdir(parents=True, exist_ok=True)
        self.file, self.journal = own / "vectors.safetensors", own / "finished.txt"
        code, kind = DTYPES[dtype]
        self.places: dict[Key, tuple[int, int]] = {}
        header, offset = {}, 0
        for key in sorted(dims, key=key_text):
            size = rows * dims[key] * np.dtype(kind).itemsize
            header[key_text(key)] = {"dtype": code, "shape": [rows, dims[key]], "data_offsets": [offset, offset + size]}
            self.places[key] = (offset, dims[key])
            offset += size
        written = json.dumps(header, separators=(",", ":")).encode()
        written += b" " * (-len(written) % 8)
        self.start = 8 + len(written)
        if not self.file.exists() or self.file.stat().st_size != self.start + offset:
            remove(self.journal)
            with self.file.open("wb") as handle:
                handle.truncate(self.start + offset)
        with self.file.open("r+b") as handle:  # also replaces a damaged header
            handle.write(struct.pack("<Q", len(written)) + written)
        self.finished: dict[tuple[int, int], int] = {}
        self.reread()
        self._keep_sound()

    def reread(self) -> None:
        """Reads what other processes have finished. A torn or damaged line is ignored."""
        found = self.journal.read_bytes() if self.journal.exists() else b""
        lines = [JOURNAL.fullmatch(line) for line in found.split(b"\n")[:-1]]
        self.finished = {(int(line[1]), int(line[2])): int(line[3]) for line in lines if line}

    def _keep_sound(self) -> None:
        """Forgets chunks whose vectors are not what was written, so that they are computed again."""
        sound = {}
        for (start, stop), checksum in self.finished.items():
            whole = 0 <= start < stop <= self.rows
            if (
                whole
                and self._checksum({key: self._view(key)[self._at(start, stop)] for key in self.places}) == checksum
            ):
                sound[start, stop] = checksum
        lines = "".join(f"{start} {stop} {checksum}\n" for (start, stop), checksum in sound.items())
        if self.journal.exists() and self.journal.read_bytes() != lines.encode():
            with atomic_path(self.journal) as temporary:
                temporary.write_text(lines)
        self.finished = sound

    def _view(self, key: Key) -> np.memmap:
        offset, dim = self.places[key]
        kind = DTYPES[self.dtype][1]
        return np.memmap(self.file, dtype=kind, mode="r+", offset=self.start + offset, shape=(self.rows, dim))

    def _at(self, start: int, stop: int) -> slice | np.ndarray:
        """Where the vectors of some places lie in a matrix."""
        return slice(start, stop) if self.order is None else self.order[start:stop]

    def _checksum(self, vectors: Mapping[Key, np.ndarray]) -> int:
        found = 0
        for key in sorted(vectors, key=key_text):
            found = checksum_of(key, np.ascontiguousarray(vectors[key]), found)
        return found

    def rows_finished(self) -> int:
        """How many rows are on disk."""
        return len(set().union(*(range(start, stop) for start, stop in self.finished)))

    def has(self, rows: range) -> bool:
        """Whether a chunk is already on disk."""
        return (rows.start, rows.stop) in self.finished

    def write(self, rows: range, vectors: Mapping[Key, np.ndarray]) -> None:
        """Writes a chunk's matrices, float32 [len(rows), dim] each, to these places. They are on disk afterwards."""
        kind = np.dtype(DTYPES[self.dtype][1])
        checksum, stored = 0, np.empty(0, kind)
        with self.file.open("r+b", buffering=0) as file:
            for key in sorted(vectors, key=key_text):
                offset, dim = self.places[key]
                if stored.shape != (len(rows), dim):
                    stored = np.empty((len(rows), dim), kind)
                with np.errstate(over="ignore"):
                    np.copyto(stored, vectors[key], casting="same_kind")
                if kind == np.float16 and not np.isfinite(stored).all():
                    raise PromptpoolError(
                        f"embedding {key_text(key)}: a value is beyond float16; set grid.storage: float32"
                    )
                checksum = checksum_of(key, stored, checksum)
                if self.order is None:
                    file.seek(self.start + offset + rows.start * dim * kind.itemsize)
                    write_all(file, stored)
                else:
                    view = self._view(key)
                    view[self._at(rows.start, rows.stop)] = stored
                    view.flush()
            os.fsync(file.fileno())
        with self.journal.open("a", encoding="utf-8") as handle:
            handle.write(f"{rows.start} {rows.stop} {checksum}\n")
            handle.flush()
            os.fsync(handle.fileno())

    def finish(self) -> None:
        """Moves the file to its path, and removes the scratch directory. Raises ValueError if rows are missing."""
        self.reread()
        if self.rows_finished() < self.rows:
            raise ValueError(f"{self.path}: {self.rows - self.rows_finished()} of {self.rows} rows were never written")
        with atomic_path(self.path) as temporary:
            shutil.move(self.file, temporary)
        remove(self.scratch)


def checksum_of(key: Key, rows: np.ndarray, before: int = 0) -> int:
    """CRC-32 of a matrix [n, dim] under its key, continuing `before`."""
    return zlib.crc32(rows.data.cast("B"), zlib.crc32(key_text(key).encode(), before))


def write_all(file: io.RawIOBase, rows: np.ndarray) -> None:
    """Writes a contiguous array, in as many calls as the system needs."""
    left = memoryview(rows).cast("B")
    while len(left):
        left = left[file.write(left) :]


@contextmanager
def written_behind(file: VectorFile, ahead: int = 2) -> Iterator[Callable[[range, Mapping[Key, np.ndarray]], None]]:
    """Gives `file.write` in a thread of its own, so that the next chunk is computed while one is written.

    ahead: chunks handed over and not yet written, at most; the caller waits beyond that. What a write raises is raised
    at the next one, or at the end. On leaving, everything is on disk.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="vectors") as thread:
        under_way: deque[Future] = deque()

        def write(rows: range, vectors: Mapping[Key, np.ndarray]) -> None:
            while under_way and (len(under_way) >= ahead or under_way[0].done()):
                under_way.popleft().result()
            under_way.append(thread.submit(file.write, rows, dict(vectors)))

        yield write
        while under_way:
            under_way.popleft().result()


class Vectors(Mapping[Key, np.ndarray]):
    """The matrices of an embeddings file by (prompt, pooling, layer). Each is read when asked for, as float32."""

    def __init__(self, path: str | Path):
        self.path = str(path)
        with safe_open(self.path, framework="np") as file:
            self.names = {parse_key(name): name for name in file.keys()}  # noqa: SIM118 (no mapping)

    def __getitem__(self, key: Key) -> np.ndarray:
        with safe_open(self.path, framework="np") as file:
            return file.get_tensor(self.names[key]).astype(np.float32, copy=False)

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, key: Key, rows: np.ndarray) -> np.ndarray:
        """Some rows of a matrix, in this order: float32 [len(rows), dim]. Reads from the first of them to the last."""
        start, stop = int(rows.min()), int(rows.max()) + 1
        with safe_open(self.path, framework="np") as file:
            found = file.get_slice(self.names[key])[start:stop]
        return found[rows - start].astype(np.float32, copy=False)

    def shape(self, key: Key) -> tuple[int, int]:
        """Rows and width of a matrix, without reading it."""
        with safe_open(self.path, framework="np") as file:
            return tuple(file.get_slice(self.names[key]).get_shape())


def read_vectors(path: str | Path) -> Vectors:
    """The matrices of one embeddings file, in the order of their keys."""
    return Vectors(path)


def write_vectors(path: str | Path, vectors: Mapping[Key, np.ndarray], dtype: str = "float32") -> None:
    """Writes matrices [n, dim] by (prompt, pooling, layer), all at once."""
    rows = len(next(iter(vectors.values())))
    dims = {key: matrix.shape[1] for key, matrix in vectors.items()}
    file = VectorFile(path, f"{path}.scratch", "whole", dims, rows, dtype)
    file.write(range(rows), vectors)
    file.finish()
