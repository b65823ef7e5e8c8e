"""Post-processings of vectors: affine maps from statistics of unlabelled texts.

`center` subtracts the mean; `zscore` also divides each dimension by its standard deviation. `soft-whiten(g)` divides
along each principal axis by the standard deviation to the power g: 0 is `center`, 1 is whitening (Su et al. 2021, arXiv
2103.15316). `remove-top(k)` drops the k widest axes (Mu & Viswanath 2018, arXiv 1702.01417).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from ..artifacts.files import atomic_path
from ..errors import PromptpoolError
from ..variants import POST_PROCESSING, RAW, Key, key_text, parse_key

# A spread below these shares of the median and of the widest counts as that. So an axis that few texts used is not
# blown up, and float32 has digits enough for what is left.
OF_MEDIAN, OF_WIDEST = 0.1, 1e-3


@dataclass(frozen=True)
class Statistics:
    """Of one readout's vectors of unlabelled texts.

    mean, std: float64 [dim]; axes: the principal axes, widest first, float32 [n, dim] with n = min(texts - 1, dim);
    spread: the standard deviation along each, float64 [n]; texts: how many. low, high: the least and the greatest
    number of each dimension, float32 [dim].
    """

    mean: np.ndarray
    std: np.ndarray
    axes: np.ndarray
    spread: np.ndarray
    texts: int
    low: np.ndarray
    high: np.ndarray


def fit(vectors: np.ndarray) -> Statistics:
    """The statistics of vectors [texts, dim], computed in float64."""
    count, dim = vectors.shape
    if count < 2:
        raise PromptpoolError("fitting: a post-processing needs at least two texts; give more")
    mean = vectors.mean(0, dtype=np.float64)
    centered = vectors.astype(np.float64) - mean
    values, axes = np.linalg.eigh(centered.T @ centered / (count - 1))
    kept = min(count - 1, dim)
    spread = np.sqrt(np.clip(values[::-1][:kept], 0, None))
    widest_first = np.ascontiguousarray(axes.T[::-1][:kept], np.float32)
    ends = (end(0).astype(np.float32) for end in (vectors.min, vectors.max))
    return Statistics(mean, centered.std(0), widest_first, spread, count, *ends)


def floored(spread: np.ndarray) -> tuple[np.ndarray, float]:
    """Spreads that can be divided by, and the least of them; 1 if there is no spread."""
    widest = float(spread.max(initial=0.0))
    seen = spread[spread > 1e-7 * widest]  # the others are rounding
    least = max(OF_MEDIAN * float(np.median(seen)), OF_WIDEST * widest) if len(seen) else 1.0
    return np.maximum(spread, least), least


@dataclass(frozen=True)
class Affine:
    """x -> (x - mean) @ matrix.T. matrix: float64 [dim, dim], None for the identity; mean: float64 [dim].

    statistics: those that it uses; None for `none`, which needs none.
    """

    mean: np.ndarray | None
    matrix: np.ndarray | None
    statistics: Statistics | None

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Float32 [texts, dim] of vectors [texts, dim]."""
        if self.mean is None:
            return vectors
        centered = vectors - self.mean.astype(np.float32)
        return centered if self.matrix is None else centered @ self.matrix.T.astype(np.float32)

    def dense(self, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """The same as a linear layer: weight float32 [dim, dim], bias float32 [dim]."""
        matrix = np.eye(dim) if self.matrix is None else self.matrix
        mean = np.zeros(dim) if self.mean is None else self.mean
        return matrix.astype(np.float32), (-matrix @ mean).astype(np.float32)

    @cached_property
    def typical_length(self) -> float:
        """The root mean square length of the mapped vectors of the fitted texts; 1 if all are zero."""
        known = self.statistics
        spread = known.axes * known.spread[:, None]
        square = float(((spread if self.matrix is None else spread @ self.matrix.T) ** 2).sum())
        if self.mean is None:
            square += float((known.mean**2).sum())
        return float(np.sqrt(square)) or 1.0


def affine_of(name: str, known: Statistics | None) -> Affine:
    """The map of a post-processing. known: of the readout that it is applied to; `none` works without."""
    found = POST_PROCESSING.fullmatch(name)
    if found is None:
        raise PromptpoolError(
            f"post_processing: unknown post-processing {name!r}; use none, center, zscore, soft-whiten(0.5) or "
            "remove-top(1)"
        )
    if name == RAW:
        return Affine(None, None, known)
    power, top = found.groups()
    if power:
        spread, least = floored(known.spread)
        axes = known.axes.astype(np.float64)
        rest = least ** -float(power)  # along axes that the fitted texts did not use
        matrix = rest * np.eye(axes.shape[1]) + (axes.T * (spread ** -float(power) - rest)) @ axes
        return Affine(known.mean, matrix, known)
    if top:
        axes = known.axes[: int(top)].astype(np.float64)
        return Affine(known.mean, np.eye(axes.shape[1]) - axes.T @ axes, known)
    return Affine(known.mean, np.diag(1 / floored(known.std)[0]) if name == "zscore" else None, known)


# --- on disk -----------------------------------------------------------------------------------------


def write_statistics(path: str | Path, known: Mapping[Key, Statistics]) -> None:
    """Writes a safetensors file with `mean`, `std`, `axes`, `spread`, `texts`, `low` and `high` of each key."""
    arrays = {
        f"{key_text(key)}/{name}": np.asarray(value) for key, one in known.items() for name, value in vars(one).items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays))  # save_file would let nobody else read it


class StatisticsFile(Mapping[Key, Statistics]):
    """The statistics of a file by (prompt, pooling, layer). Each is read when asked for."""

    def __init__(self, path: str | Path):
        self.path = str(path)
        with safe_open(self.path, framework="np") as file:
            keys = {name.rpartition("/")[0] for name in file.keys()}  # noqa: SIM118 (no mapping)
        self.names = {parse_key(key): key for key in keys}

    def __getitem__(self, key: Key) -> Statistics:
        with safe_open(self.path, framework="np") as file:
            names = ("mean", "std", "axes", "spread", "texts", "low", "high")
            read = {name: file.get_tensor(f"{self.names[key]}/{name}") for name in names}
        return Statistics(**{**read, "texts": int(read["texts"])})

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(self.names))

    def __len__(self) -> int:
        return len(self.names)


def read_statistics(path: str | Path) -> StatisticsFile:
    """The statistics that `write_statistics` wrote."""
    return StatisticsFile(path)
