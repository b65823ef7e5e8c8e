"""Short and small vectors: their first dimensions alone, and a byte or a bit in place of four bytes a dimension.

Both are read from stored vectors. The byte's ranges come from unlabelled texts. Codes are those of
sentence-transformers' `quantize_embeddings`.
"""

import numpy as np

from ..variants import short_vector
from .post_processing import Statistics

LEVELS = 256
FLOAT_BYTES = 4


def shortened(rows: np.ndarray, name: str, known: Statistics | None) -> np.ndarray:
    """What a store that keeps vectors [texts, dim] in this form gives back, float32 [texts, dims].

    name: `cut(64)`, `int8`, `binary`, `cut(64)+int8` or `cut(64)+binary`; known: of the whole vectors, for int8. A byte
    is read back as the middle of its range, a bit as -1 or 1.
    """
    dims, kind = short_vector(name)
    rows = rows[:, :dims]
    if kind == "binary":
        return np.where(rows > 0, np.float32(1), np.float32(-1))
    if kind == "int8":
        low, step = known.low[:dims], steps_of(known, dims)
        return low + (byte_codes(rows, known) + np.float32(0.5)) * step
    return rows


def steps_of(known: Statistics, dims: int | None) -> np.ndarray:
    """The width of a byte's levels in each dimension, float32 [dims]; 0 where all fitted texts had one value."""
    return ((known.high - known.low) / np.float32(LEVELS - 1))[:dims]


def byte_codes(rows: np.ndarray, known: Statistics) -> np.ndarray:
    """A level of 0 to 255 for each number, float32 [texts, dims]. What lies outside the fitted range gets its end."""
    dims = rows.shape[1]
    step = steps_of(known, dims)
    return np.clip(np.floor((rows - known.low[:dims]) / np.where(step > 0, step, 1)), 0, LEVELS - 1)


def bytes_a_text(width: int, name: str) -> int:
    """Bytes of one vector in this form. width: of the whole vector; another name is float32."""
    dims, kind = short_vector(name) or (None, None)
    kept = min(width, dims or width)
    return {"int8": kept, "binary": -(-kept // 8)}.get(kind, FLOAT_BYTES * kept)
