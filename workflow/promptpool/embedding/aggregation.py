"""Readouts of stored vectors: one post-processed pooling, or several side by side, without a forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..variants import RAW, Key, Layer, short_vector
from .post_processing import Affine, Statistics, affine_of
from .short_vectors import shortened

TEXT, CORPUS = "text", "corpus"  # what a part's length is scaled by


@dataclass(frozen=True)
class AggregatedPart:
    """One pooled hidden state, post-processed. weight: its length in the whole."""

    pooling: str
    layer: Layer
    post_processing: str = RAW
    weight: float = 1.0

    def affine(self, prompt: str, known: Mapping[Key, Statistics]) -> Affine:
        return affine_of(self.post_processing, known.get((prompt, self.pooling, self.layer)))


@dataclass(frozen=True)
class Aggregation:
    """Parts side by side, under the name and layer that the scores give them.

    scale: `text` gives every part of every text the length 1; `corpus` divides a part by its typical length over the
    fitted texts. Both times the weight, and the whole has length 1. None leaves a single part as it is.
    """

    name: str
    layer: Layer
    parts: tuple[AggregatedPart, ...]
    scale: str | None

    @classmethod
    def of(cls, spec: Mapping) -> "Aggregation":
        """From a mapping with the same keys."""
        return cls(spec["name"], spec["layer"], tuple(AggregatedPart(**part) for part in spec["parts"]), spec["scale"])

    def read(self, prompt: str, vectors: Mapping[Key, np.ndarray], known: Mapping[Key, Statistics]) -> np.ndarray:
        """Float32 [texts, sum of widths]. vectors: stored matrices; known: the statistics of the same readouts."""
        columns = []
        for part in self.parts:
            stored = vectors[prompt, part.pooling, part.layer]
            if short_vector(part.post_processing):  # of one pooling alone
                return shortened(stored, part.post_processing, known.get((prompt, part.pooling, part.layer)))
            affine = part.affine(prompt, known)
            rows = affine.apply(stored)
            if self.scale is None:
                return rows
            rows = unit(rows) if self.scale == TEXT else rows / np.float32(affine.typical_length)
            columns.append(rows * np.float32(part.weight))
        return unit(np.hstack(columns))

    def dense(self, prompt: str, known: Mapping[Key, Statistics]) -> tuple[np.ndarray, np.ndarray]:
        """`read` as a linear layer on the parts' raw vectors side by side: weight [dim, dim], bias [dim], float32.

        The whole's length is left out. Not for the scale `text`, which is not linear.
        """
        if self.scale == TEXT:
            raise ValueError(f"{self.name}: a length of each text is no linear map")
        layers, dims = [], []
        for part in self.parts:
            affine = part.affine(prompt, known)
            dims.append(len(affine.statistics.mean))
            weight, bias = affine.dense(dims[-1])
            factor = np.float32(1 if self.scale is None else part.weight / affine.typical_length)
            layers.append((weight * factor, bias * factor))
        whole = np.zeros((sum(dims), sum(dims)), np.float32)
        for start, dim, (weight, _) in zip(np.cumsum([0, *dims[:-1]]), dims, layers, strict=True):
            whole[start : start + dim, start : start + dim] = weight
        return whole, np.concatenate([bias for _, bias in layers])


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1).astype(np.float32)
