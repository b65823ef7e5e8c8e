"""When two texts count as the same."""

import re

import regex

_WORD = regex.compile(r"[\w\p{M}]+")  # marks are part of a word: without them, two words of Hindi can be one
_ASCII_WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """Folds case, spacing and punctuation. Texts that are then equal count as the same text."""
    return " ".join((_ASCII_WORD if text.isascii() else _WORD).findall(text.casefold()))
