"""The one error type that users are meant to read."""


class PromptpoolError(Exception):
    """Bad input or a broken promise, in one line: where, what, and how to mend it."""
