"""What only the config files themselves show: which of several files is at fault, and which key a file repeats.

Snakemake merges the files; a later one overrides an earlier one.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml


def file_at_fault(problem: str, files: Sequence[str | Path]) -> str:
    """The file to name in front of `dotted.key: what is wrong`: the last of those that hold most of the key.

    A key that is in no file (a missing one, or one from the command line) is attributed to the first.
    """
    if len(files) == 1:
        return str(files[0])
    keys = problem.partition(":")[0].split(".")
    depths = [_depth(_content(file), keys) for file in files]
    deepest = max(depths)
    return str(files[len(depths) - 1 - depths[::-1].index(deepest)] if deepest else files[0])


def repeated_key(files: Sequence[str | Path]) -> str | None:
    """`file: dotted.key: ...` for the first key that occurs twice in one mapping of one file; None if none does.

    The YAML reader silently keeps the last of the two.
    """
    for file in map(Path, files):
        try:
            state = file.stat()
        except OSError:
            continue
        fault = _repeated_in(file, state.st_mtime_ns, state.st_size)
        if fault:
            return f"{file}: {fault}"
    return None


@functools.cache
def _repeated_in(file: Path, _changed: int, _size: int) -> str | None:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # Snakemake reports it
        return None
    return next(_repeats(node, ()), None)


def _repeats(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                yield f"{'.'.join([*path, name])}: occurs twice, on lines {lines[name]} and {line}; keep one"
            lines[name] = line
            yield from _repeats(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeats(value, path)


def _content(file: str | Path) -> object:
    try:
        return yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # Snakemake has read the file and reports the fault
        return None


def _depth(content: object, keys: Sequence[str]) -> int:
    """How many of the steps in `keys` exist in the content. A key itself may contain dots."""
    if not keys or not isinstance(content, Mapping):
        return 0
    for size in range(1, len(keys) + 1):
        name = ".".join(keys[:size])
        if name in content:
            return size + _depth(content[name], keys[size:])
    return 0
