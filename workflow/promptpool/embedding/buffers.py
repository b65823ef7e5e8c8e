"""Large arrays that are used again once nobody holds them: a fresh one costs more than to fill it."""

import sys
from collections.abc import Sequence

import numpy as np

UNHELD = 2  # references to an array that only the list and the question itself hold


class Buffers:
    """Lends float32 arrays. One comes back by itself when it and all views of it are gone.

    The kernel zeroes every page of a fresh array at its first touch, which takes longer than a chunk's vectors take to
    arrive. most: how many arrays that nobody holds are kept beside a new one.
    """

    def __init__(self, most: int = 2):
        self.most = most
        self._known: list[np.ndarray] = []

    def lend(self, shape: Sequence[int]) -> np.ndarray:
        """An array of a shape, with any values in it."""
        size = int(np.prod(shape))
        free = [place for place in range(len(self._known)) if sys.getrefcount(self._known[place]) <= UNHELD]
        fitting = [place for place in free if len(self._known[place]) >= size]
        if fitting:
            return self._known[fitting[0]][:size].reshape(tuple(shape))
        for place in reversed(free[self.most :]):
            del self._known[place]
        self._known.append(np.empty(size, dtype=np.float32))
        return self._known[-1].reshape(tuple(shape))
