"""Embedding matrices on disk: safetensors with keys "prompt/pooling/layer"."""

from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load_file, save_file

from .artifacts import atomic_path


def write_vectors(path: str, vectors: Mapping[tuple[str, str, int], np.ndarray]) -> None:
    """Writes matrices float32 [n, dim] by (prompt, pooling, layer)."""
    tensors = {"/".join(map(str, key)): np.ascontiguousarray(matrix) for key, matrix in vectors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def read_vectors(path: str) -> dict[tuple[str, str, int], np.ndarray]:
    """The matrices of one embeddings file, by (prompt, pooling, layer)."""
    found = {}
    for key, matrix in load_file(path).items():
        prompt, pooling, layer = key.split("/")
        found[prompt, pooling, int(layer)] = matrix
    return found
