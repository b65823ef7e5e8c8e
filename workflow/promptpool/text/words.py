"""Words in any script, for lengths and for comparing texts word by word."""

import re
import unicodedata

import regex

# Scripts without spaces between words, and how many of their letters correspond to an English word. Measured on
# parallel sentences and rounded: good enough for a length ratio or a minimum, but not linguistics.
IDEOGRAPHIC, LETTERS_A_WORD = r"\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Bopomofo}ー々〆", 2
SOUTH_EAST_ASIAN, SYLLABIC_LETTERS_A_WORD = r"\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}\p{sc=Tibetan}", 4

_UNSPACED = rf"{IDEOGRAPHIC}{SOUTH_EAST_ASIAN}"
_WORD = regex.compile(rf"(?V1)[[{_UNSPACED}]&&\p{{L}}]\p{{M}}*+|[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]++")
_ASCII_WORD = re.compile(r"\w+")  # the same words, seven times as fast
_IDEOGRAPH = regex.compile(rf"(?V1)[[{IDEOGRAPHIC}]&&\p{{L}}]")
_SYLLABLE = regex.compile(rf"(?V1)[[{SOUTH_EAST_ASIAN}]&&\p{{L}}]")


def words(text: str) -> list[str]:
    """The words of a text, with case and compatibility forms folded (NFKC), without punctuation and symbols.

    A word is a run of letters, marks, digits and underscores. In scripts without spaces between words (Chinese,
    Japanese, Thai, Lao, Khmer, Burmese, Tibetan) every letter, with its marks, is one word.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_count(text: str, found: list[str] | None = None) -> int:
    """A text's length in words: two ideographs or kana, or four letters of Thai-like scripts, count as one word.

    found: `words(text)`, if the caller already has it.
    """
    found = words(text) if found is None else found
    if text.isascii():
        return len(found)
    whole = "".join(found)
    ideographs, syllables = len(_IDEOGRAPH.findall(whole)), len(_SYLLABLE.findall(whole))
    spaced = len(found) - ideographs - syllables
    return spaced - (-ideographs // LETTERS_A_WORD) - (-syllables // SYLLABIC_LETTERS_A_WORD)
