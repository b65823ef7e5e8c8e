"""Which of several config files a fault stands in: Snakemake merges them, and a later one has the last word."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml


def file_at_fault(problem: str, files: Sequence[str | Path]) -> str:
    """The file to name in front of `dotted.key: what is wrong`: of those that hold most of the key, the last.

    A key that stands in no file (from the command line, or one that is missing) is put down to the first.
    """
    if len(files) == 1:
        return str(files[0])
    keys = problem.partition(":")[0].split(".")
    depths = [_depth(_content(file), keys) for file in files]
    deepest = max(depths)
    return str(files[len(depths) - 1 - depths[::-1].index(deepest)] if deepest else files[0])


def _content(file: str | Path) -> object:
    try:
        return yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # Snakemake has read it: it says what is wrong
        return None


def _depth(content: object, keys: Sequence[str]) -> int:
    """How many of the steps `keys` lead somewhere. A key may have dots itself."""
    if not keys or not isinstance(content, Mapping):
        return 0
    for size in range(1, len(keys) + 1):
        name = ".".join(keys[:size])
        if name in content:
            return size + _depth(content[name], keys[size:])
    return 0
