"""Finds training texts that are an evaluation task's texts: the same, nearly the same, or containing one."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from ..text.near_duplicates import ShingleIndex, Shingles, shingled
from ..text.normalisation import normalise
from ..text.words import word_count

# A shorter known text ("Return the number of nodes.") may occur in another by chance, so only the whole text counts.
LEAST_WORDS_WITHIN = 8
TEXTS_A_CHUNK = 20_000  # texts shingled at a time; bounds memory


class Hit(NamedTuple):
    """What contaminates a text: `which` is the index of the known text."""

    kind: Literal["exact", "near"]
    which: int


def contaminated(
    texts: Sequence[str],
    known: Sequence[str],
    threshold: float | None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Hit | None]:
    """For each text the known text that it is (`exact`) or holds (`near`); None if it is clean.

    exact: the same words after folding case, spacing and punctuation. near: the text has at least `threshold` of the
    known text's shingles (runs of three words). So a known text is found inside a longer one, and near-duplicates are
    found too. For a known text under 8 words, the Jaccard index must reach `threshold`. threshold None: exact only.
    The best match counts; among equals, the first. Texts without a word are clean.
    """
    first: dict[str, int] = {}
    for number, text in enumerate(known):
        first.setdefault(normalise(text), number)
    first.pop("", None)
    exact = [first.get(normalise(text)) for text in texts]
    hits = [None if number is None else Hit("exact", number) for number in exact]
    if threshold is None or not first:
        return hits

    numbers = sorted(first.values())  # each known text once
    sets = shingled([known[number] for number in numbers])
    index = ShingleIndex(sets, threshold)
    for place in range(len(numbers)):
        index.add(place)
    brief = np.array([word_count(known[number]) < LEAST_WORDS_WITHIN for number in numbers])
    heads = index.head_hashes()
    for start in range(0, len(texts), TEXTS_A_CHUNK):
        chunk = shingled(texts[start : start + TEXTS_A_CHUNK])
        for row, probes in _probes(chunk, heads):
            if hits[start + row] is None:
                place = _best(index, chunk.of(row), probes, brief)
                hits[start + row] = None if place is None else Hit("near", numbers[place])
        if progress:
            progress(min(start + TEXTS_A_CHUNK, len(texts)), len(texts))
    return hits


def _probes(chunk: Shingles, heads: np.ndarray) -> list[tuple[int, list[int]]]:
    """The texts of a chunk that hold any head of the index, each with those that it holds."""
    places = np.minimum(np.searchsorted(heads, chunk.hashes), max(0, len(heads) - 1))
    held = heads[places] == chunk.hashes if len(heads) else np.zeros(len(chunk.hashes), dtype=bool)
    owners, hashes = chunk.owners[held], chunk.hashes[held]
    bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
    return [(int(owners[a]), hashes[a:b].tolist()) for a, b in pairwise(bounds)]


def _best(index: ShingleIndex, mine: np.ndarray, probes: list[int], brief: np.ndarray) -> int | None:
    best, place = 0.0, None
    for number, common in index.find(mine, probes):
        size = len(index.sets.of(number))
        if brief[number] and common / (size + len(mine) - common) < index.threshold:
            continue
        if common / size > best:
            best, place = common / size, number
    return place
