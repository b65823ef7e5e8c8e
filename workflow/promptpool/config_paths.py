"""Paths of a config stay in the working directory, or are absolute on purpose."""

import os
from collections.abc import Iterator, Mapping

KEYS = {"path", "file", "labels", "function_words", "python", "model"}  # what may hold a path, in any section


def paths(config: Mapping) -> Iterator[str]:
    """A problem for each relative path that climbs out: what it names depends on where the study lies."""
    for key, value in _leaves(config):
        if key[-1] in KEYS and os.path.normpath(value).split(os.sep)[0] == "..":
            yield f"{'.'.join(key)}: {value!r} leaves the working directory; write it absolute if that is meant"


def _leaves(value: object, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, (*key, str(name)))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, key)
    elif isinstance(value, str) and key:
        yield key, value
