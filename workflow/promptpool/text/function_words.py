"""Lists of function words, such as "the" and "of". Read before any job starts, so little is imported."""

import unicodedata
from importlib.resources import files
from pathlib import Path

from ..errors import PromptpoolError

FUNCTION_WORDS = files(__package__) / "function_words.txt"


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
