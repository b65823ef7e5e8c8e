"""Refuses secrets in a configuration, because sidecars, the report and logs repeat its content."""

import re
from collections.abc import Iterator, Mapping

from .references import texts

# The shapes of keys of OpenAI and compatible services, Hugging Face, GitHub, AWS.
SHAPES = re.compile(
    r"(?<![\w-])(sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_\w{30,}|github_pat_\w{30,}|AKIA[0-9A-Z]{16})"
)
SECRET_KEYS = re.compile(
    r"(^|[_-])(api[_-]?key|secret|password|authorization|bearer|access[_-]?token)($|[_-])", re.IGNORECASE
)


def secrets(config: Mapping) -> Iterator[str]:
    """The faults of places that hold what looks like a key, or are called one. The value is not repeated."""
    for path, value in texts(config):
        if SHAPES.search(value) or (path[:3] == ("backends", "openai", "extra") and SECRET_KEYS.search(path[-1])):
            remedy = "remove it, export it, and name its variable in backends.openai.key_variable"
            yield f"{'.'.join(path)}: this looks like a secret, and would be shown in sidecars and the report; {remedy}"
