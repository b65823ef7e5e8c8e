"""The sample study of the tests: changed key by key, and what a bad one is answered with."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError

ROOT = Path(__file__).parents[1]
SAMPLE = "tests/sample_study.yaml"
REMOVED = object()


def load(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def demo(**changes: object) -> dict:
    """The sample study with dotted keys (written with `__`) set, or REMOVED."""
    config = load(SAMPLE)
    for dotted, value in changes.items():
        put(config, dotted.replace("__", "."), value)
    return config


def put(config: dict, dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for key in parents:
        config = config.setdefault(key, {})
    if value is REMOVED:
        del config[last]
    else:
        config[last] = value


def told(config: Mapping, source: str = "config.yaml") -> str:
    """The one line that a bad config is answered with."""
    with pytest.raises(PromptpoolError) as caught:
        resolve(config, source)
    line = str(caught.value)
    assert "\n" not in line
    return line
