"""Finds texts that nearly equal an earlier one: shingles of words, and an exact search by their rarest shingles.

If two sets overlap by a share t of one of them, they share one of that set's rarest (1 - t) members: prefix filtering
(Chaudhuri et al., ICDE 2006; Bayardo et al., WWW 2007). Unlike MinHash with LSH it misses no pair, needs no seed, and
handles containment as well as Jaccard.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .words import words

SHINGLE_WORDS = 3
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # any odd number with 64 well mixed bits


class Shingles(NamedTuple):
    """Sets of shingles of n texts: text i has `hashes[starts[i]:starts[i + 1]]`, each once, in ascending order."""

    hashes: np.ndarray  # uint64 [all shingles]
    starts: np.ndarray  # int64 [n + 1]

    def of(self, number: int) -> np.ndarray:
        return self.hashes[self.starts[number] : self.starts[number + 1]]

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def owners(self) -> np.ndarray:
        """The text of each shingle."""
        return np.repeat(np.arange(len(self.starts) - 1), self.sizes)


def shingled(texts: Sequence[str], size: int = SHINGLE_WORDS) -> Shingles:
    """The runs of `size` words of each text, as 64-bit hashes that are the same on every machine.

    A text of fewer words is one shingle, so it equals only a text with exactly the same words. One without words has
    none.
    """
    places: dict[str, int] = {}
    flat, lengths = array("q"), np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        found = words(text)
        lengths[row] = len(found)
        flat.extend([places.setdefault(word, len(places)) for word in found])
    digests = b"".join(hashlib.blake2b(w.encode("utf-8", "surrogatepass"), digest_size=8).digest() for w in places)
    codes = np.frombuffer(digests, dtype="<u8")[np.frombuffer(flat, dtype=np.int64)] if flat else np.empty(0, np.uint64)

    owners = np.repeat(np.arange(len(texts)), lengths)
    width = np.minimum(lengths, size)[owners]
    within = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    whole = within + width <= lengths[owners]
    hashes = codes.copy()
    for step in range(1, size):
        following = np.append(codes[step:], np.zeros(min(step, len(codes)), np.uint64))
        hashes = np.where(width > step, hashes * _MULTIPLIER + following, hashes)
    return _unique(hashes[whole], owners[whole], len(texts))


def _unique(hashes: np.ndarray, owners: np.ndarray, texts: int) -> Shingles:
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return Shingles(hashes[first], _starts(owners[first], texts))


def _starts(owners: np.ndarray, texts: int) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.bincount(owners, minlength=texts))))


class ShingleIndex:
    """Finds, exactly, those of its texts that have at least `threshold` of their shingles in another text.

    sets: the shingles of all texts that may be added, by number; threshold: above 0, at most 1.
    """

    def __init__(self, sets: Shingles, threshold: float):
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold {threshold}: must lie above 0 and be at most 1")
        self.sets, self.threshold = sets, threshold
        _, inverse, counts = np.unique(sets.hashes, return_inverse=True, return_counts=True)
        counts, sizes, owners = counts[inverse], sets.sizes, sets.owners
        order = np.lexsort((sets.hashes, counts, owners))  # each text's rarest shingles first
        rank = np.arange(len(order)) - np.repeat(sets.starts[:-1], sizes)
        needed = np.ceil(sizes * threshold - 1e-9).astype(np.int64)
        head = order[rank < (sizes - needed + 1)[owners]]
        self._heads = Shingles(sets.hashes[head], _starts(owners[head], len(sizes)))
        self._sociable = np.unique(owners[head][counts[head] > 1])
        self._posted: dict[int, list[int]] = {}

    def sociable(self) -> list[int]:
        """The texts that share one of their rarest shingles with any other: only these can have a near-duplicate."""
        return self._sociable.tolist()

    def heads(self, number: int) -> list[int]:
        """A text's rarest shingles. Any text that holds `threshold` of its shingles holds one of these."""
        return self._heads.of(number).tolist()

    def head_hashes(self) -> np.ndarray:
        """The rarest shingles of all texts, uint64, ascending, each once."""
        return np.unique(self._heads.hashes)

    def add(self, number: int) -> None:
        for shingle in self.heads(number):
            self._posted.setdefault(shingle, []).append(number)

    def find(self, shingles: np.ndarray, probes: Iterable[int]) -> list[tuple[int, int]]:
        """(number, shared shingles) of the added texts that have at least `threshold` of theirs in `shingles`.

        shingles: uint64, each once; probes: the shingles to look up, at least all that are a head of an added text.
        In ascending order of numbers.
        """
        met = {number for probe in probes for number in self._posted.get(probe, ())}
        if not met:
            return []
        mine, found = set(shingles.tolist()), []
        for number in sorted(met):
            theirs = self.sets.of(number)
            if len(theirs) * self.threshold <= len(mine) + 1e-9:
                common = len(mine.intersection(theirs.tolist()))
                if common / len(theirs) >= self.threshold:
                    found.append((number, common))
        return found


def near_duplicates(
    texts: Sequence[str], threshold: float, progress: Callable[[int, int], None] | None = None
) -> list[int | None]:
    """For each text the number of the earliest kept text that it nearly equals; None if it is new, and so kept.

    Nearly equal: the Jaccard index of the sets of shingles is at least `threshold`. Texts without a word are new.
    """
    sets = shingled(texts)
    index = ShingleIndex(sets, threshold)
    answer: list[int | None] = [None] * len(texts)
    for number in index.sociable():
        mine, heads = sets.of(number), index.heads(number)
        found = index.find(mine, heads)
        sizes = (len(mine) + len(sets.of(other)) - common for other, common in found)
        equal = (n for (n, common), union in zip(found, sizes, strict=True) if common / union >= threshold)
        answer[number] = next(equal, None)
        if answer[number] is None:
            index.add(number)
        if progress and number % 1_000 == 0:
            progress(number, len(texts))
    if progress:
        progress(len(texts), len(texts))
    return answer
