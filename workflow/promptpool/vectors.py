"""Embedding matrices on disk: safetensors with keys "prompt/pooling/layer"."""

from collections.abc import Iterable, Mapping

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from .artifacts import atomic_path

Key = tuple[str, str, int]


def write_vectors(path: str, vectors: Mapping[Key, np.ndarray]) -> None:
    """Writes matrices float32 [n, dim] by (prompt, pooling, layer)."""
    tensors = {"/".join(map(str, key)): np.ascontiguousarray(matrix) for key, matrix in vectors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def vector_keys(path: str) -> list[Key]:
    """The (prompt, pooling, layer) of an embeddings file's matrices, which are not read."""
    with safe_open(path, "numpy") as file:
        return [_key(name) for name in file.keys()]  # noqa: SIM118


def read_vectors(path: str, keys: Iterable[Key] | None = None) -> dict[Key, np.ndarray]:
    """The matrices of one embeddings file, by (prompt, pooling, layer); some of them, or all."""
    with safe_open(path, "numpy") as file:
        return {
            key: file.get_tensor("/".join(map(str, key)))
            for key in (keys if keys is not None else [_key(name) for name in file.keys()])  # noqa: SIM118
        }


def _key(name: str) -> Key:
    prompt, pooling, layer = name.split("/")
    return prompt, pooling, int(layer)
