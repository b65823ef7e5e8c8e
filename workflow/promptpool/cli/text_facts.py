"""What init says about a user's texts: how many, how long, in which language, and how many are there twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SAMPLE = 300  # texts whose language is judged
CHARACTERS_PER_TOKEN = 4.0  # a little less than the plan's: a limit should rather be too long


@dataclass(frozen=True)
class TextFacts:
    """count: different texts; words: median of a text; tokens: of a long text (95th percentile), estimated; repeated:
    rows whose text came before, without case and spacing; blank: rows without a text; language: ISO 639 and its share
    of the texts whose language is clear, or None.
    """

    count: int
    words: float
    tokens: int
    repeated: int
    blank: int
    language: tuple[str, float] | None

    def in_words(self) -> str:
        """`1,900 texts of 12 words (median), a long one has about 40 tokens, 95% en; 80 repeated rows are left out`."""
        told = f"{self.count:,} texts of {self.words:.0f} words (median), a long one has about {self.tokens} tokens"
        told += f", {self.language[1]:.0%} {self.language[0]}" if self.language else ""
        gone = [f"{count:,} {what}" for count, what in ((self.repeated, "repeated"), (self.blank, "blank")) if count]
        return told + (f"; {' and '.join(gone)} rows are left out" if gone else "")


def text_facts(cells: Sequence[str | None]) -> TextFacts:
    filled = [cell for cell in cells if cell and cell.strip()]
    different = list({" ".join(cell.split()).casefold(): cell for cell in reversed(filled)}.values())
    letters = np.array([len(text) for text in different] or [0])
    words = np.array([len(text.split()) for text in different] or [0])
    return TextFacts(
        count=len(different),
        words=float(np.median(words)),
        tokens=max(1, round(float(np.quantile(letters, 0.95)) / CHARACTERS_PER_TOKEN)),
        repeated=len(filled) - len(different),
        blank=len(cells) - len(filled),
        language=_language(different[:: max(1, len(different) // _SAMPLE)]),
    )


def _language(texts: Sequence[str]) -> tuple[str, float] | None:
    from ..text.language import language

    found = Counter(filter(None, map(language, texts)))
    if not found:
        return None
    code, count = found.most_common(1)[0]
    return code, count / found.total()
