"""Finds the tokens of a text that belong to content words, not to function words or punctuation."""

from collections.abc import Sequence
from itertools import pairwise

import regex

from .function_words import folded

APOSTROPHE = "['\u2019]"
# A contraction with "not" is one word. The other clitics ('s, 'll) are separate words, so that the name in "Kepler's"
# stays a content word.
_WORD = regex.compile(
    rf"\p{{L}}+n{APOSTROPHE}t(?!\p{{L}})"
    rf"|(?<=[\p{{L}}\p{{N}}]){APOSTROPHE}(?:s|ll|re|ve|d|m)(?!\p{{L}})"
    r"|[\p{L}\p{M}\p{N}_]+",
    regex.IGNORECASE,
)

Offsets = Sequence[tuple[int, int]]


def words_of(text: str) -> list[tuple[int, int]]:
    """Start and end, in characters, of each word that contains a letter or a digit."""
    return [match.span() for match in _WORD.finditer(text) if any(map(str.isalnum, match[0]))]


def content_words(text: str, function_words: frozenset[str]) -> list[tuple[int, int]]:
    """Start and end, in characters, of each word that is not on the list and contains a letter or a digit.

    A word is a run of letters, marks, digits and underscores. In scripts without spaces between words, a whole run is
    one word, so a list of their function words finds only those that stand alone.
    """
    return [span for span in words_of(text) if folded(text[slice(*span)]) not in function_words]


def content_tokens(text: str, offsets: Offsets, function_words: frozenset[str]) -> list[bool]:
    """Whether each token belongs, with at least one of its characters, to a content word.

    offsets: the tokens' start and end in the text, ascending. Tokens that are bytes of one character share its place.
    """
    inside = [False] * (len(text) + 1)
    for start, stop in content_words(text, function_words):
        inside[start:stop] = [True] * (stop - start)
    return [any(inside[start:stop]) for start, stop in offsets]


def token_offsets(tokenizer, text: str, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """(the text that the places refer to, start and end of each token of `ids`). `ids` are the first tokens of `text`,
    without special tokens.

    A tokenizer without offsets decodes longer and longer beginnings instead. Places then refer to what it decodes, and
    are right except for characters that are cut into bytes.
    """
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return text, [tuple(place) for place in encoded["offset_mapping"][: len(ids)]]
    decoded = [tokenizer.decode(list(ids[:count])) for count in range(len(ids) + 1)]
    ends = [len(part) for part in decoded]
    return decoded[-1], list(pairwise(ends))
