"""A step's texts in chunks of similar length, so that little of what is computed is padding."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .ahead import LENGTHS

PADDING = 0.1  # of a step's computed tokens: the most that may be padding
WIDENED = 4  # times a chunk's tokens: the most that its texts take when padded to its longest


def by_length(sides: Sequence[Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], Tensor, list[int]]:
    """All sides' texts as one batch, the longest first, where each text went, sides in order, and their lengths.

    Neighbours then have similar lengths, so a chunk of them has little padding. Assumes right padding. A side's lengths
    come with it (ahead.with_lengths); otherwise they are counted here.
    """
    width = max(side["input_ids"].shape[1] for side in sides)
    known = [side[LENGTHS] if LENGTHS in side else side["attention_mask"].sum(1).tolist() for side in sides]
    lengths = np.array([length for side in known for length in side])
    longest_first = np.argsort(-lengths, kind="stable")
    together = {name: values for name, values in sides[0].items() if name != LENGTHS}
    for name in ("input_ids", "attention_mask"):  # a padded id is masked, so any value will do
        together[name] = torch.cat([F.pad(side[name], (0, width - side[name].shape[1])) for side in sides])
    order = torch.from_numpy(longest_first).to(together["input_ids"].device)
    for name in ("input_ids", "attention_mask"):
        together[name] = together[name][order]
    return together, order.argsort(), lengths[longest_first].tolist()


def cut_chunks(
    together: Mapping[str, Tensor], lengths: Sequence[int], most: int, packed: bool = False
) -> list[dict[str, Tensor]]:
    """A batch, its longest texts first, in chunks of at most `most` tokens, each as wide as its longest text.

    tokens: of each chunk, without padding. packed: for a model that packs them (packed.py), so that padding does not
    count, and each comes with its texts' lengths.
    """
    chunks = []
    for begin, end in (_together if packed else chunks_of)(lengths, most):
        chunk = {**together, "tokens": sum(lengths[begin:end]), **({LENGTHS: lengths[begin:end]} if packed else {})}
        for name in ("input_ids", "attention_mask"):
            chunk[name] = together[name][begin:end, : max(1, lengths[begin])]
        chunks.append(chunk)
    return chunks


def chunks_of(lengths: Sequence[int], most: int, slack: float = PADDING) -> list[tuple[int, int]]:
    """Where to cut texts, longest first, so that at most `slack` of what is computed so far is ever padding.

    A chunk is as wide as its first text and holds at most `most` tokens, or one text.
    """
    ranges: list[tuple[int, int]] = []
    begin = 0
    computed = padding = 0  # of the chunks that are closed
    while begin < len(lengths):
        width, end, own = lengths[begin], begin + 1, 0
        while end < len(lengths) and width * (end + 1 - begin) <= most:
            more = own + width - lengths[end]
            if padding + more > slack * (computed + width * (end + 1 - begin)):
                break
            own, end = more, end + 1
        ranges.append((begin, end))
        computed, padding, begin = computed + width * (end - begin), padding + own, end
    return ranges


def _together(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Where to cut texts, longest first, so that each part holds at most `most` tokens, or one text.

    Its last states are padded again for the pooling, to at most WIDENED times as many.
    """
    starts, held = [0], 0
    for number, length in enumerate(lengths):
        padded = lengths[starts[-1]] * (number + 1 - starts[-1])
        if number > starts[-1] and (held + length > most or padded > WIDENED * most):
            starts, held = [*starts, number], 0
        held += length
    return list(zip(starts, [*starts[1:], len(lengths)], strict=True))
