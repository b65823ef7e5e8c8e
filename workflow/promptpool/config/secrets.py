"""Secrets do not belong in a configuration: sidecars, the report and logs repeat what stands there."""

import re
from collections.abc import Iterator, Mapping

from .references import texts

# As their givers shape them: OpenAI and those like it, Hugging Face, GitHub, AWS.
SHAPES = re.compile(
    r"(?<![\w-])(sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_\w{30,}|github_pat_\w{30,}|AKIA[0-9A-Z]{16})"
)
SECRET_KEYS = re.compile(
    r"(^|[_-])(api[_-]?key|secret|password|authorization|bearer|access[_-]?token)($|[_-])", re.IGNORECASE
)


def secrets(config: Mapping) -> Iterator[str]:
    """A place that holds what is shaped like a key, or is called one; what it holds is not repeated."""
    for path, value in texts(config):
        if SHAPES.search(value) or (path[:3] == ("backends", "openai", "extra") and SECRET_KEYS.search(path[-1])):
            mend = "take it out, export it, and name its variable in backends.openai.key_variable"
            yield f"{'.'.join(path)}: this looks like a secret, and would be shown in sidecars and the report; {mend}"
