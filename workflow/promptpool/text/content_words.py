"""Finds the tokens of a text that belong to content words, not to function words or punctuation."""

import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import regex

from ..errors import PromptpoolError

FUNCTION_WORDS = files(__package__) / "function_words.txt"
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


def read_function_words(path: str | Path | None = None) -> frozenset[str]:
    """The words of a list, separated by white space; `#` begins a comment. None: the package's English list.

    Raises PromptpoolError for a file that is missing, not UTF-8 or without a word.
    """
    path = Path(path) if path else FUNCTION_WORDS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptpoolError(
            f"attention.function_words: can't read {str(path)!r} ({type(error).__name__}); fix the path or the file"
        ) from None
    found = frozenset(folded(word) for line in lines for word in line.partition("#")[0].split())
    if not found:
        raise PromptpoolError(f"attention.function_words: {str(path)!r} has no words; add some, or null for English")
    return found


def folded(word: str) -> str:
    """A word in the form that lists use: compatibility forms and case folded, straight apostrophes."""
    return unicodedata.normalize("NFKC", word).replace("\u2019", "'").casefold()


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
