"""The only error type that users should see."""

import difflib
from collections.abc import Iterable


class PromptpoolError(Exception):
    """Bad input or a broken promise, as one line: where, what, and how to fix it."""


def choices(value: object, known: Iterable[object]) -> str:
    """`use one of ...`, with a guess at what was meant; empty if `known` is empty."""
    names = [str(name) for name in known]
    if not names:
        return ""
    close = difflib.get_close_matches(str(value), names, n=1)
    return f"use one of {', '.join(names)}" + (f" (did you mean {close[0]!r}?)" if close else "")
