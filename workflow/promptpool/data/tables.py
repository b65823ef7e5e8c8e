"""Reads users' files (texts and labelled texts from parquet, csv, tsv or jsonl), with errors that say what to do.

The caller of a reader may pass a dict `counts`. It gets `rows_read`, and how many of these lack a value in which column
(`without_text`, `without_label` or `without_positive`); a row may lack both.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from ..errors import PromptpoolError
from .hub_tables import read_hub
from .table_formats import READERS, Columns, kind_of

Tell = Callable[[str], object]
Counts = dict[str, int]


def read_table(path: str | Path, columns: list[str], where: str) -> pd.DataFrame:
    """The named columns of a file, every cell as text; None if there is no value (see table_formats).

    A name may be a path into structured rows, such as `messages.0.content`. `where` is the config key that errors
    name. `~` is the home directory.
    """
    path = Path(path)
    place = path.expanduser()
    if not place.is_file():
        raise PromptpoolError(f"{where}: {path}: no such file; fix the path")
    kind = kind_of(path)
    if kind not in READERS:
        raise PromptpoolError(f"{where}: {path}: unknown file type; use one of {', '.join(READERS)}")
    try:
        names, cells = READERS[kind](place, columns)
    except Exception as error:  # pyarrow raises exceptions of many types for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PromptpoolError(f"{where}: {path}: cannot be read as {kind[1:]}: {reason}") from None
    return _as_frame(names, cells, columns, f"{where}: {path}")


def _as_frame(names: list[str], cells: Columns, columns: list[str], where: str) -> pd.DataFrame:
    missing = [column for column in columns if column not in names]
    if not any(cells.values()) and (not missing or not names):
        raise PromptpoolError(f"{where}: the file has no rows; fill it or name another")
    if missing:
        other = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
        advice = f"; save it with commas, not {other!r}, between the columns" if other else ""
        raise PromptpoolError(f"{where}: no column {missing[0]!r}; it has {', '.join(map(repr, names))}{advice}")
    return pd.DataFrame({column: pd.Series(cells[column], dtype=object) for column in columns})


def _blank(table: pd.DataFrame) -> pd.DataFrame:
    return table.isna() | table.map(lambda cell: isinstance(cell, str) and not cell.strip())


def _without_gaps(table: pd.DataFrame, where: str, what: str, tell: Tell, counts: Counts | None) -> pd.DataFrame:
    """The rows without missing or blank cells, by their old numbers. `tell` gets a line that counts the others."""
    blank = _blank(table)
    whole = table[~blank.any(axis=1)].astype(str)
    if counts is not None:
        counts["rows_read"] = len(table)
        counts |= {f"without_{column}": int(blank[column].sum()) for column in table}
    if len(whole) < len(table):
        tell(f"{where}: {len(table) - len(whole)} of {len(table)} rows lack {what} and are left out")
    return whole


def read_texts(spec: Mapping, where: str, tell: Tell = lambda line: None, counts: Counts | None = None) -> pd.DataFrame:
    """A corpus's rows, as str: `text`, and `positive` if the spec names its column. Rows with a gap are left out, and
    `tell` gets a line that counts them. If the spec names columns of negatives, also `negative_1`, ..., which may lack
    a value (None).

    They come from a file, or from a hub data set at its pinned revision.
    """
    names = {spec["column"]: "text"} | ({spec["positive"]: "positive"} if spec["positive"] else {})
    negatives = spec.get("negative") or []
    negatives = [negatives] if isinstance(negatives, str) else list(negatives)
    wanted = list(dict.fromkeys([*names, *negatives]))
    if spec["source"] == "hub":
        columns, cells, place = read_hub(spec, wanted, where)
        table = _as_frame(columns, cells, wanted, place)
    else:
        table = read_table(spec["path"], wanted, where)
    what, place = " or ".join(names.values()), f"{where}: {spec['path']}"
    whole = _without_gaps(table[list(names)].rename(columns=names), place, what, tell, counts)
    found = table.loc[whole.index, negatives]
    found = found.where(~_blank(found), None)
    columns = {f"negative_{number}": found[column] for number, column in enumerate(negatives, 1)}
    return whole.assign(**columns).reset_index(drop=True)


def read_labelled(
    path: str | Path,
    text: str,
    label: str,
    where: str,
    tell: Tell = lambda line: None,
    counts: Counts | None = None,
) -> pd.DataFrame:
    """A labelled file as columns `text` and `label` (both str). At least two labels must differ.

    Rows without a text or a label, null or blank, are left out, and `tell` gets a line that counts them.
    """
    if text == label:
        raise PromptpoolError(f"{where}: {path}: text and label name the same column {text!r}; name two")
    table = read_table(path, [text, label], where).rename(columns={text: "text", label: "label"})
    table = _without_gaps(table, f"{where}: {path}", "a text or a label", tell, counts).reset_index(drop=True)
    labels = table["label"].unique()
    if len(labels) < 2:
        only = f"only the label {labels[0]!r}" if len(labels) else "no labelled row"
        raise PromptpoolError(f"{where}: {path}: column {label!r} has {only}; clustering needs at least two labels")
    return table


def in_and_out(counts: Mapping[str, object], kept: int) -> str:
    """`100 rows read, 90 kept (without_label: 7, repeated: 3)`: the line about a table in a job's log."""
    gone = ", ".join(f"{name}: {count}" for name, count in counts.items() if name != "rows_read" and count)
    return f"{counts['rows_read']} rows read, {kept} kept" + (f" ({gone})" if gone else "")
