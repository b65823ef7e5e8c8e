"""Columns of a downloaded hub data set, every cell as text.

`datasets` finds the files of a split, but ignores revisions offline, so it gets the directory of the pinned revision.
Its own readers of csv and json guess types (the text 1.10 becomes 1.1, "NA" is lost, 2020-01-01 gets a time of day), so
`table_formats` reads these files.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import PromptpoolError
from ..hub.snapshots import snapshots
from .table_formats import Columns, arrow_columns, kind_of, read_csv, read_json, read_jsonl, read_tsv

ReadFile = Callable[[Path, Sequence[str]], tuple[list[str], Columns]]
OWN_LAYOUT = ("names", "column_names", "skiprows", "usecols")  # options of a card that define a csv's columns


def read_hub(spec: Mapping, columns: list[str], where: str) -> tuple[list[str], Columns, str]:
    """(column names, {name: cells}, the place for an error to name) of one split of a hub corpus.

    Raises PromptpoolError, one line, for a split, a file or a type of file that cannot be read.
    """
    from datasets import load_dataset, load_dataset_builder

    (snapshot,) = snapshots(spec)
    folder = snapshot["folder"]
    place = f"{where}: {spec['path']}@{snapshot['commit']}"
    try:
        builder = load_dataset_builder(folder, data_files=spec["file"])
        if builder.name not in ("csv", "json"):
            rows = load_dataset(folder, data_files=spec["file"], split=spec["split"])
            names = list(rows.column_names)
            known = [name for name in names if any(want == name or want.startswith(f"{name}.") for want in columns)]
            table = rows.select_columns(known).with_format("arrow")[:]
            return names, arrow_columns(table, columns, names), place
        files = _files(builder, spec["split"])
    except (ValueError, OSError) as error:  # a split that does not exist, files of an unknown type
        raise PromptpoolError(f"{place}: cannot be read: {_first_line(error)}") from None
    names, cells = [], {column: [] for column in columns}
    for file in files:
        shown = f"{place}: {_name(file, folder)}"
        try:
            own, found = _reader(builder, file)(Path(file), columns)
        except Exception as error:  # a damaged packed file raises exceptions of many types
            raise PromptpoolError(f"{shown}: cannot be read: {_first_line(error)}") from None
        missing = [column for column in columns if column not in own]
        if missing:
            raise PromptpoolError(f"{shown}: no column {missing[0]!r}; it has {', '.join(map(repr, own))}")
        names += [name for name in own if name not in names]
        for column in columns:
            cells[column] += found[column]
    return names, cells, place


def _files(builder: Any, split: str) -> list[str]:
    """The files that `datasets` assigns to a split. Raises ValueError if there is no such split."""
    splits = builder.config.data_files or {}
    if split not in splits:
        raise ValueError(f"no split {split!r}; it has {', '.join(map(str, splits))}")
    return list(splits[split])


def _reader(builder: Any, file: str) -> ReadFile:
    """The reader for a file, by its suffix and by the options that the data set's card gives to `datasets`."""
    kind, options = kind_of(Path(file)), builder.config
    if kind in (".json", ".jsonl", ".ndjson"):
        return partial(read_json, field=options.field) if kind == ".json" else read_jsonl
    if kind not in (".csv", ".tsv"):
        raise ValueError(f"files of type {kind!r} are not supported; name another in `file`")
    if any(getattr(options, name, None) is not None for name in OWN_LAYOUT) or options.header not in ("infer", 0):
        raise ValueError("its card defines its columns, which is not supported; download it and name its columns")
    if options.sep == "\t":
        return read_tsv
    return partial(read_csv, delimiter=options.sep or ",")


def _name(file: str, folder: str) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
