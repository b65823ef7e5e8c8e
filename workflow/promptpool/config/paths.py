"""Checks that a config's paths stay in the working directory, or are absolute on purpose."""

import os
from collections.abc import Iterator, Mapping

from .references import texts

PATH_KEYS = {"path", "file", "labels", "function_words", "python", "model"}  # what may hold a path, in any section


def paths(config: Mapping) -> Iterator[str]:
    """The faults of paths that no file system accepts, and of relative paths that leave the working directory.

    What such a relative path names would depend on where the study lies.
    """
    for key, value in texts(config):
        if key[-1] not in PATH_KEYS:
            continue
        steps = os.path.normpath(value).split(os.sep)
        if steps[0] == "..":
            yield f"{'.'.join(key)}: {value!r} leaves the working directory; if that is intended, write it absolute"
        if len(value) > 4000 or any(len(step.encode("utf-8", "surrogatepass")) > 255 for step in steps):
            yield f"{'.'.join(key)}: {value[:60]!r}... is too long for a path ({len(value)} characters); shorten it"
