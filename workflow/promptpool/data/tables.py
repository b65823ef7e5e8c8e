"""Reading users' files: texts and labelled texts from parquet, csv, tsv or jsonl, with errors one can act on."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from ..errors import PromptpoolError
from ..hub.snapshots import snapshots
from .table_formats import READERS, arrow_columns

Tell = Callable[[str], object]


def read_table(path: str | Path, columns: list[str], where: str) -> pd.DataFrame:
    """The named columns of a file, every cell as its text; None where there is no value (table_formats says when).

    A name may be a path into structured rows, such as `messages.0.content`. `where` is the config key to name in an
    error. `~` is the home directory.
    """
    path = Path(path)
    place = path.expanduser()
    if not place.is_file():
        raise PromptpoolError(f"{where}: {path}: no such file; mend the path")
    if path.suffix not in READERS:
        raise PromptpoolError(f"{where}: {path}: unknown file type; use one of {', '.join(READERS)}")
    try:
        names, cells = READERS[path.suffix](place, columns)
    except Exception as error:  # pyarrow has exceptions of every kind for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PromptpoolError(f"{where}: {path}: cannot be read as {path.suffix[1:]}: {reason}") from None
    return _as_frame(names, cells, columns, f"{where}: {path}")


def _as_frame(names: list[str], cells: Mapping[str, list], columns: list[str], where: str) -> pd.DataFrame:
    if not any(cells.values()):
        missing = [column for column in columns if column not in names]
        if not missing or not names:
            raise PromptpoolError(f"{where}: the file has no rows; fill it or name another")
    missing = [column for column in columns if column not in names]
    if missing:
        raise PromptpoolError(f"{where}: no column {missing[0]!r}; it has {', '.join(map(repr, names))}")
    return pd.DataFrame({column: pd.Series(cells[column], dtype=object) for column in columns})


def _without_gaps(table: pd.DataFrame, where: str, what: str, tell: Tell) -> pd.DataFrame:
    """The rows in which no cell is missing or blank; `tell` gets a line that counts the others."""
    blank = table.isna() | table.map(lambda cell: isinstance(cell, str) and not cell.strip())
    whole = table[~blank.any(axis=1)].astype(str)
    if len(whole) < len(table):
        tell(f"{where}: {len(table) - len(whole)} of {len(table)} rows lack {what} and are left out")
    return whole.reset_index(drop=True)


def read_texts(spec: Mapping, where: str, tell: Tell = lambda line: None) -> pd.DataFrame:
    """A corpus's rows, as str: `text`, and `positive` where the spec names its column. Rows with a gap are left out,
    and `tell` is called with a line that counts them.

    They come from a file, or from a hub data set at its pinned revision.
    """
    names = {spec["column"]: "text"} | ({spec["positive"]: "positive"} if spec["positive"] else {})
    hub = spec["source"] == "hub"
    table = _hub_table(spec, list(names), where) if hub else read_table(spec["path"], list(names), where)
    return _without_gaps(table.rename(columns=names), f"{where}: {spec['path']}", " or ".join(names.values()), tell)


def _hub_table(spec: Mapping, columns: list[str], where: str) -> pd.DataFrame:
    """Columns of a data set that was prefetched: read from its directory, as `datasets` ignores revisions offline."""
    from datasets import load_dataset

    (snapshot,) = snapshots(spec)
    try:
        rows = load_dataset(snapshot["folder"], data_files=spec["file"], split=spec["split"])
    except (ValueError, OSError) as error:  # a split that is not there, files of no known kind
        reason = str(error).strip().splitlines()[0]
        raise PromptpoolError(f"{where}: {spec['path']}@{snapshot['commit']}: cannot be read: {reason}") from None
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise PromptpoolError(
            f"{where}: {spec['path']}@{snapshot['commit']}: no column {missing[0]!r}; it has "
            f"{', '.join(map(repr, rows.column_names))}"
        )
    rows = rows.select_columns(columns).with_format("arrow")[:]
    try:
        return _as_frame(columns, arrow_columns(rows, columns, list(columns)), columns, where)
    except ValueError as error:
        raise PromptpoolError(f"{where}: {spec['path']}@{snapshot['commit']}: {error}") from None


def read_labelled(path: str | Path, text: str, label: str, where: str, tell: Tell = lambda line: None) -> pd.DataFrame:
    """A labelled file as columns `text` and `label` (both str). At least two different labels.

    Rows without a text or a label, null or blank, are left out; `tell` is called with a line that counts them.
    """
    if text == label:
        raise PromptpoolError(f"{where}: {path}: text and label name the same column {text!r}; name two")
    table = read_table(path, [text, label], where).rename(columns={text: "text", label: "label"})
    table = _without_gaps(table, f"{where}: {path}", "a text or a label", tell)
    labels = table["label"].unique()
    if len(labels) < 2:
        only = f"only the label {labels[0]!r}" if len(labels) else "no labelled row"
        raise PromptpoolError(f"{where}: {path}: column {label!r} has {only}; clustering needs at least two labels")
    return table
