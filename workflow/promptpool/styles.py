"""Pair styles: how a positive is made from an anchor."""

from functools import cache
from pathlib import Path

import yaml

STYLES_FILE = Path(__file__).parents[1] / "resources" / "styles.yaml"
TEXT_STYLES = ("halves", "identity")  # these need no language model


@cache
def instructions() -> dict[str, dict[str, str]]:
    """The LLM styles of resources/styles.yaml: name -> {"chat": ...} or {"plain": ...}."""
    return yaml.safe_load(STYLES_FILE.read_text(encoding="utf-8"))


def halves(anchor: str, document: str) -> tuple[str, str]:
    """(text, positive): the anchor and the rest of its document; a document that is only the anchor is cut in two.

    The positive is at most 60 words, as long as what a model is asked to write.
    """
    rest = document[len(anchor) :] if document.startswith(anchor) else document.partition("\n\n")[2]
    if anchor.strip() != document.strip():
        return anchor, " ".join(rest.split()[:60])
    words = anchor.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])
