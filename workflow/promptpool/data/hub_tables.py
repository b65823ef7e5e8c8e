"""Columns of a hub data set that was prefetched, every cell as its text.

`datasets` finds the files of a split, and ignores revisions offline: it is given the directory of the one that is
pinned. Its own readers of csv and json guess types (the text 1.10 becomes 1.1, "NA" is lost, 2020-01-01 gets a time
of day), so these files are read by `table_formats`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import PromptpoolError
from ..hub.snapshots import snapshots
from .table_formats import Columns, arrow_columns, kind_of, read_csv, read_json, read_jsonl, read_tsv

ReadFile = Callable[[Path, Sequence[str]], tuple[list[str], Columns]]
OWN_LAYOUT = ("names", "column_names", "skiprows", "usecols")  # a card's options that say where a csv's columns lie


def read_hub(spec: Mapping, columns: list[str], where: str) -> tuple[list[str], Columns, str]:
    """(names of the columns, {name: cells}, the place to name in an error) of one split of a hub corpus.

    Raises PromptpoolError, one line, for a split, a file or a kind of file that cannot be read.
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
    except (ValueError, OSError) as error:  # a split that is not there, files of no known kind
        raise PromptpoolError(f"{place}: cannot be read: {_first_line(error)}") from None
    names, cells = [], {column: [] for column in columns}
    for file in files:
        shown = f"{place}: {_name(file, folder)}"
        try:
            own, found = _reader(builder, file)(Path(file), columns)
        except Exception as error:  # a packed file that is damaged has exceptions of every kind
            raise PromptpoolError(f"{shown}: cannot be read: {_first_line(error)}") from None
        missing = [column for column in columns if column not in own]
        if missing:
            raise PromptpoolError(f"{shown}: no column {missing[0]!r}; it has {', '.join(map(repr, own))}")
        names += [name for name in own if name not in names]
        for column in columns:
            cells[column] += found[column]
    return names, cells, place


def _files(builder: Any, split: str) -> list[str]:
    """The files that `datasets` counts to a split. ValueError where there is none of that name."""
    splits = builder.config.data_files or {}
    if split not in splits:
        raise ValueError(f"no split {split!r}; it has {', '.join(map(str, splits))}")
    return list(splits[split])


def _reader(builder: Any, file: str) -> ReadFile:
    """How a file is read, by its ending and the options that the data set's card gives `datasets`."""
    kind, options = kind_of(Path(file)), builder.config
    if kind in (".json", ".jsonl", ".ndjson"):
        return partial(read_json, field=options.field) if kind == ".json" else read_jsonl
    if kind not in (".csv", ".tsv"):
        raise ValueError(f"a file of type {kind!r} is not read; name another in `file`")
    if any(getattr(options, name, None) is not None for name in OWN_LAYOUT) or options.header not in ("infer", 0):
        raise ValueError("its card says where its columns lie, which is not read; download it and name its columns")
    if options.sep == "\t":
        return read_tsv
    return partial(read_csv, delimiter=options.sep or ",")


def _name(file: str, folder: str) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
