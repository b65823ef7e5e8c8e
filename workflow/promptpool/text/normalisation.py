"""When two texts count as the same."""

import re

import regex

_WORD = regex.compile(r"[\w\p{M}]+")  # a mark is part of its word: without it, two words of Hindi can be one
_ASCII_WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """Case, spacing and punctuation folded away: what counts as the same text for overlap."""
    return " ".join((_ASCII_WORD if text.isascii() else _WORD).findall(text.casefold()))
