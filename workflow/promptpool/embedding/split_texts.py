"""Cuts long texts into chunks of at most so many tokens, at the ends of sentences or words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import PromptpoolError
from ..templates import Composer, well_formed

SPLIT_TOGETHER = 1024  # texts tokenized at once: offsets take memory
STOPS = ".!?…;:"  # of a sentence, if white space follows
WIDE_STOPS = "。！？；"  # of a sentence, whatever follows
AFTER_STOPS = " \t\n\"')]”’»"  # may stand between the end of a sentence and the next one
LOOK_BACK = 8  # characters in which the end of a sentence is looked for


class Chunks(NamedTuple):
    """Texts in chunks. pieces: of each text, in their order, a short one's is itself; tokens: of each piece; lengths:
    tokens of each whole text, int [n].
    """

    pieces: list[tuple[str, ...]]
    tokens: list[tuple[int, ...]]
    lengths: np.ndarray


def split_texts(composer: Composer, texts: Sequence[str], overlap: int = 0) -> Chunks:
    """Chunks of at most `composer.max_text_tokens` tokens, each of which starts with about the `overlap` last tokens of
    the one before. A chunk is a text of its own: a part of its text, from a word to the end of a sentence or a word.

    Only a word that is longer than a chunk is cut inside. Nothing but white space is lost. A text that fits is one
    chunk, unchanged. Raises PromptpoolError for a tokenizer that does not say where in the text its tokens lie.
    """
    found = Chunks([], [], np.zeros(len(texts), dtype=np.int64))
    for start in range(0, len(texts), SPLIT_TOGETHER):
        part = list(texts[start : start + SPLIT_TOGETHER])
        for row, (text, spans) in enumerate(zip(part, _spans(composer, part), strict=True), start=start):
            found.lengths[row] = len(spans)
            pieces, tokens = ((text,), (len(spans),))
            if len(spans) > composer.max_text_tokens:
                pieces, tokens = _pieces(composer, text, spans, overlap)
            found.pieces.append(pieces)
            found.tokens.append(tokens)
    return found


def _spans(composer: Composer, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Where each token lies in its text: first character, and the one after the last. Normalising moves none."""
    tokenizer = composer.tokenizer
    if not tokenizer.is_fast:
        raise PromptpoolError(
            f"{tokenizer.name_or_path}: its tokenizer does not say where tokens lie in a text, which chunks need; "
            "write long_texts: cut"
        )
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    return tokenizer(composer.clean(texts), **options)["offset_mapping"]


def _pieces(
    composer: Composer, text: str, spans: Sequence[tuple[int, int]], overlap: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """A long text's chunks with their tokens. A word may have another token more without the space before it, so chunks
    are counted again, and made shorter where one is too long.
    """
    whole, most = well_formed(text), composer.max_text_tokens
    limit = most
    while True:
        ranges = chunk_ranges(whole, spans, limit, min(overlap, limit - 1))
        cut = [whole[spans[first][0] : spans[last - 1][1]].strip() for first, last in ranges]
        pieces = tuple(piece for piece in cut if piece) or (text,)  # a text of white space alone stays as it is
        tokens = tuple(len(own) for own in _spans(composer, pieces))
        if max(tokens) <= most or limit == 1:
            return pieces, tokens
        limit = max(1, limit - (max(tokens) - most))


def chunk_ranges(text: str, spans: Sequence[tuple[int, int]], most: int, overlap: int) -> list[tuple[int, int]]:
    """First token and the one after the last, of each chunk. spans: of the text's tokens.

    A chunk ends at the last end of a sentence in its second half, else at the last end of a word there.
    """
    found, start = [], 0
    while True:
        stop = min(start + most, len(spans))
        if stop < len(spans):
            ends = range(stop, start + max(most // 2, overlap), -1)
            stop = next((end for end in ends if _ends_sentence(text, spans, end)), 0) or next(
                (end for end in ends if _ends_word(text, spans, end)), stop
            )
        found.append((start, stop))
        if stop == len(spans):
            return found
        starts = range(max(stop - overlap, start + 1), stop)
        start = next((first for first in starts if _ends_word(text, spans, first)), starts.start if overlap else stop)


def _ends_word(text: str, spans: Sequence[tuple[int, int]], end: int) -> bool:
    """Whether white space lies between the tokens end - 1 and end, whichever of the two it belongs to."""
    return bool(_between(text, spans, end))


def _ends_sentence(text: str, spans: Sequence[tuple[int, int]], end: int) -> bool:
    """Whether a full stop or the like, or the end of a line, lies just before the token `end`."""
    end_before, between = spans[end - 1][1], _between(text, spans, end)
    last = text[max(0, end_before - LOOK_BACK) : end_before].rstrip(AFTER_STOPS)[-1:]
    return "\n" in between or (last != "" and (last in WIDE_STOPS or (last in STOPS and bool(between))))


def _between(text: str, spans: Sequence[tuple[int, int]], end: int) -> str:
    """The white space between the tokens end - 1 and end."""
    left, right = text[slice(*spans[end - 1])], text[spans[end - 1][1] : spans[end][1]]
    return left[len(left.rstrip()) :] + right[: len(right) - len(right.lstrip())]
