"""Thinking, refusals and chat phrases that a model writes instead of an answer, or around one."""

import re
import unicodedata
from functools import cache
from importlib.resources import files

import yaml

from ..errors import PromptpoolError

BOILERPLATE_FILE = files(__package__) / "boilerplate.yaml"
KINDS, PLACES = ("thinking", "refusal", "boilerplate"), ("start", "end", "anywhere")
WINDOW = 300  # characters of the start and of the end that are searched
_STRAIGHT = str.maketrans(dict.fromkeys("‘’‚‛′´`", "'") | dict.fromkeys("“”„‟«»″", '"'))
_MARKS = re.compile(r"[^\w<\[]*")
_SENTENCE = re.compile(r"(?<=[.!?:;)\]\"'*])\s+|\s*\n\s*|(?<=[。！？])")


def boilerplate(text: str, positive: str) -> str | None:
    """`thinking`, `refusal`, `boilerplate` or None: what a line of boilerplate.yaml finds in the positive but not in
    the text. Raises PromptpoolError for a line that is not a regular expression, or is under an unknown place.
    """
    pieces = _pieces(positive)
    for (kind, place), (any_line, lines) in _lines().items():
        if any(any_line.search(piece) for piece in pieces[place]):
            own = _pieces(text)[place]
            if any(_fits(line, pieces[place]) and not _fits(line, own) for line in lines):
                return kind
    return None


def _fits(line: re.Pattern, pieces: list[str]) -> bool:
    return any(line.search(piece) for piece in pieces)


def _pieces(text: str) -> dict[str, list[str]]:
    """The parts of a text that the lines of each place are matched with."""
    text = text.lower()
    later = _SENTENCE.split(text[-WINDOW:])[1:]
    return {
        "start": [_plain(text[: 2 * WINDOW])[:WINDOW]],
        "end": [_plain(sentence) for sentence in later],
        "anywhere": [text],
    }


def _plain(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_STRAIGHT))
    text = " ".join(text.split())
    return text[_MARKS.match(text).end() :]


@cache
def _lines() -> dict[tuple[str, str], tuple[re.Pattern, list[re.Pattern]]]:
    """(kind, place) -> all lines as one pattern, for a quick test, and each line alone; in the order of KINDS."""
    book = yaml.safe_load(BOILERPLATE_FILE.read_text(encoding="utf-8"))
    found = {}
    for kind in KINDS:
        for place, lines in (book.get(kind) or {}).items():
            if place not in PLACES:
                raise PromptpoolError(f"{BOILERPLATE_FILE}: {kind}.{place}: no such place; use {', '.join(PLACES)}")
            start = "" if place == "anywhere" else r"\A"
            single = [_compiled(f"{start}(?:{line})", line, f"{kind}.{place}") for line in lines]
            found[kind, place] = re.compile("|".join(line.pattern for line in single)), single
    return found


def _compiled(pattern: str, line: str, where: str) -> re.Pattern:
    if re.sub(r"\\.", "", line) != re.sub(r"\\.", "", line).lower():
        raise PromptpoolError(f"{BOILERPLATE_FILE}: {where}: {line!r} has capitals; write it in lower case")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise PromptpoolError(f"{BOILERPLATE_FILE}: {where}: {line!r}: {error}; fix the expression") from None
