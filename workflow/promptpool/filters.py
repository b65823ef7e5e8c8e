"""What makes a positive unfit: each reason has a name, and is counted."""

from difflib import SequenceMatcher

from .normalisation import normalise

REASONS = ("empty", "short", "echo", "repeats", "duplicate")


def rejection(text: str, positive: str, *, min_words: int, max_echo: float) -> str | None:
    """The first reason to reject a pair, None for a good one.

    `empty`: no word; `short`: fewer than `min_words` words; `echo`: similarity of the normalised texts
    (difflib ratio, 0 to 1) above `max_echo`; `repeats`: fewer than half of its word triples are different.
    Duplicates need the whole set: see `first_uses`.
    """
    source, words = normalise(text), normalise(positive).split()
    if not words:
        return "empty"
    if len(words) < min_words:
        return "short"
    target = " ".join(words)
    if target == source or SequenceMatcher(None, source, target, autojunk=False).ratio() > max_echo:
        return "echo"
    triples = list(zip(words, words[1:], words[2:], strict=False))
    if triples and len(set(triples)) < 0.5 * len(triples):
        return "repeats"
    return None


def first_uses(texts: list[str]) -> list[bool]:
    """True where a text, normalised, stands for the first time."""
    seen: set[str] = set()
    answer = []
    for text in texts:
        key = normalise(text)
        answer.append(key not in seen)
        seen.add(key)
    return answer
