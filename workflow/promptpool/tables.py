"""Reading users' files: texts and labelled texts from parquet, csv, tsv or jsonl, with errors one can act on."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from .errors import PromptpoolError
from .hub import snapshots

READERS = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True),
}


def read_table(path: str | Path, columns: list[str], where: str) -> pd.DataFrame:
    """The named columns of a file, as they are. `where` is the config key to name in an error."""
    path = Path(path)
    if not path.is_file():
        raise PromptpoolError(f"{where}: {path}: no such file; mend the path")
    if path.suffix not in READERS:
        raise PromptpoolError(f"{where}: {path}: unknown file type; use one of {', '.join(READERS)}")
    try:
        table = READERS[path.suffix](path)
        for column in table.columns.intersection(columns):
            table[column].tolist()  # a damaged Parquet file may hold bytes that are no text, seen only when looked at
    except Exception as error:  # the readers have exceptions of every kind for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PromptpoolError(f"{where}: {path}: cannot be read as {path.suffix[1:]}: {reason}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise PromptpoolError(
            f"{where}: {path}: no column {missing[0]!r}; it has {', '.join(map(repr, table.columns))}"
        )
    if table.empty:
        raise PromptpoolError(f"{where}: {path}: the file has no rows; fill it or name another")
    return table[columns]


def read_texts(spec: Mapping, where: str) -> pd.DataFrame:
    """A corpus's rows, as str: `text`, and `positive` where the spec names its column. Rows with a gap are left out.

    They come from a file, or from a hub data set at its pinned revision.
    """
    names = {spec["column"]: "text"} | ({spec["positive"]: "positive"} if spec["positive"] else {})
    table = _hub_table(spec, list(names), where) if spec["source"] == "hub" else read_table(
        spec["path"], list(names), where
    )  # fmt: skip
    return table.rename(columns=names).dropna().astype(str)


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
    return rows.select_columns(columns).to_pandas()


def read_labelled(
    path: str | Path, text: str, label: str, where: str, tell: Callable[[str], object] = lambda line: None
) -> pd.DataFrame:
    """A labelled file as columns `text` and `label` (both str). At least two different labels.

    Rows without a text or a label, null or blank, are left out; `tell` is called with a line that counts them.
    """
    if text == label:
        raise PromptpoolError(f"{where}: {path}: text and label name the same column {text!r}; name two")
    whole = read_table(path, [text, label], where)
    table = whole.dropna()
    table = pd.DataFrame({"text": table[text].astype(str), "label": table[label].astype(str)})
    table = table[(table["text"].str.strip() != "") & (table["label"].str.strip() != "")]
    if len(table) < len(whole):
        left_out = len(whole) - len(table)
        tell(f"{where}: {path}: {left_out} of {len(whole)} rows lack a text or a label and are left out")
    labels = table["label"].unique()
    if len(labels) < 2:
        only = f"only the label {labels[0]!r}" if len(labels) else "no labelled row"
        raise PromptpoolError(f"{where}: {path}: column {label!r} has {only}; clustering needs at least two labels")
    return table.reset_index(drop=True)
