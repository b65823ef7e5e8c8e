"""Which column holds the texts, and which the labels: found by what the cells look like, then by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..errors import PromptpoolError, choices

TEXT_NAMES = ("text", "texts", "body", "content", "abstract", "message", "description", "sentence", "document",
              "review", "comment", "question", "query", "utterance", "summary", "title")  # fmt: skip
LABEL_NAMES = ("label", "labels", "category", "categories", "class", "topic", "intent", "target", "genre", "group",
               "section", "subject", "domain", "type", "tag", "sentiment", "rating", "stars")  # fmt: skip
NONE = "none"
_SAMPLE = 2_000  # rows that are looked at
LEAST_WORDS = 2.5  # of a mean text; names and codes have fewer
_LEAST_LETTERS = 10  # of a mean text, for scripts without spaces
_MOST_LABELS = 300
A_LABEL = 4  # texts that a label has on average, at least
LONGEST_LABEL = 60  # characters
FRAGMENT = re.compile(r"https?://|@\w+\.|^[\d\W]*$")


@dataclass(frozen=True)
class Column:
    """What a column's cells look like. distinct, texts: as shares of its filled cells."""

    name: str
    filled: float  # share of rows
    distinct: int
    of: int  # filled cells
    words: float
    letters: float
    longest: int
    plain: float  # share of cells with letters that are no address


def columns_of(table: pd.DataFrame) -> list[Column]:
    return [_column(name, table[name]) for name in table.columns]


def _column(name: str, cells: pd.Series) -> Column:
    filled = cells[cells.notna() & cells.map(lambda cell: bool(cell and cell.strip()))]
    head = filled.iloc[:: max(1, len(filled) // _SAMPLE)]
    return Column(
        name, len(filled) / max(1, len(cells)), filled.nunique(), len(filled),
        words=_mean(head, lambda cell: len(cell.split())),
        letters=_mean(head, lambda cell: sum(map(str.isalpha, cell))),
        longest=int(head.map(len).max()) if len(head) else 0,
        plain=_mean(head, lambda cell: not FRAGMENT.search(cell) or len(cell.split()) > 3),
    )  # fmt: skip


def _mean(cells: pd.Series, of: object) -> float:
    return float(cells.map(of).mean()) if len(cells) else 0.0


def text_column(path: str, columns: Sequence[Column], asked: str | None = None) -> Column:
    """The column of texts: asked for, else the first of TEXT_NAMES that looks like texts, else the one with the most
    letters. Raises PromptpoolError if none looks like texts.
    """
    if asked:
        return _named(path, columns, asked, "--text")
    good = [one for one in columns if looks_like_text(one)]
    if not good:
        seen = ", ".join(f"{one.name!r} ({one.words:.1f} words a cell)" for one in columns[:6])
        raise PromptpoolError(f"{path}: no column looks like texts: {seen}; name one with --text if it is")
    by_name = {one.name.strip().lower(): one for one in reversed(good)}
    longest = max(good, key=lambda one: one.letters)
    named = next((by_name[name] for name in TEXT_NAMES if name in by_name), longest)
    return named if 4 * named.letters >= longest.letters or "text" in named.name.lower() else longest


def looks_like_text(column: Column) -> bool:
    """Whether a column's cells are sentences rather than numbers, names, codes or addresses."""
    long_enough = column.words >= LEAST_WORDS or (column.letters >= _LEAST_LETTERS and column.words < 1.5
                                                  and column.longest > LONGEST_LABEL)  # fmt: skip
    return long_enough and column.plain > 0.5 and column.filled > 0.2 and column.distinct > 0.2 * column.of


def label_column(path: str, columns: Sequence[Column], text: Column, asked: str | None = None) -> Column | None:
    """The column of labels, or None: asked for, else by its name, else the only one of words that looks like labels."""
    if asked == NONE:
        return None
    if asked:
        found = _named(path, columns, asked, "--label")
        if found.name == text.name:
            raise PromptpoolError(f"{path}: text and label name the same column {asked!r}; name two")
        if found.distinct < 2:
            raise PromptpoolError(
                f"{path}: column {asked!r} has {found.distinct} different labels; it needs at least two"
            )
        return found
    good = [one for one in columns if one.name != text.name and looks_like_labels(one)]
    by_name = {one.name.strip().lower(): one for one in reversed(good)}
    named = next((by_name[name] for name in LABEL_NAMES if name in by_name), None)
    worded = [one for one in good if one.letters >= 2]
    return named or (worded[0] if len(worded) == 1 else None)


def looks_like_labels(column: Column) -> bool:
    """Whether a column has few different short values, each on several rows."""
    most = min(_MOST_LABELS, column.of / A_LABEL)
    return 2 <= column.distinct <= most and column.filled > 0.5 and column.longest <= LONGEST_LABEL


def _named(path: str, columns: Sequence[Column], asked: str, option: str) -> Column:
    for one in columns:
        if one.name == asked:
            return one
    raise PromptpoolError(f"{path}: no column {asked!r} for {option}; {choices(asked, [one.name for one in columns])}")
