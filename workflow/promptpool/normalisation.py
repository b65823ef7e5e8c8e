"""When two texts count as the same."""

import re


def normalise(text: str) -> str:
    """Case, spacing and punctuation folded away: what counts as the same text for overlap."""
    return " ".join(re.findall(r"\w+", text.casefold()))
