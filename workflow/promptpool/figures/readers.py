"""Reads the arguments of drawing functions from files: each with `read_<argument>`, or with read_table.

draw.py looks the readers up by name, so that a figure's digest covers only its own readers. entry.READ lists them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..analysis import score_table
from ..attention import table as attention_table
from ..statistics import samples


def read_table(files: Sequence[str]) -> pd.DataFrame:
    """One parquet file."""
    (path,) = files
    return pd.read_parquet(path)


def read_costs(files: Sequence[str]) -> pd.DataFrame:
    """The tables of all models, concatenated."""
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


def read_facts(files: Sequence[str]) -> dict[str, dict]:
    """Task -> its facts.json."""
    return samples.read_facts(files)


def read_measure(files: Sequence[str]) -> str:
    """What the scores measure, from the tasks' facts.json."""
    return score_table.measures(samples.read_facts(files))


def read_logs(folders: Sequence[str]) -> dict[str, pd.DataFrame]:
    return _adapter_tables(folders, "training")


def read_validations(folders: Sequence[str]) -> dict[str, pd.DataFrame]:
    return _adapter_tables(folders, "validation")


def _adapter_tables(folders: Sequence[str], name: str) -> dict[str, pd.DataFrame]:
    """Adapter -> its table of that name, for adapters that have one."""
    paths = {Path(folder).name: Path(folder) / f"{name}.parquet" for folder in folders}
    return {adapter: pd.read_parquet(path) for adapter, path in paths.items() if path.exists()}


def read_qc(files: Sequence[str]) -> dict[str, dict]:
    """Pair set -> its qc.json."""
    return {Path(path).parent.name: json.loads(Path(path).read_text(encoding="utf-8")) for path in files}


def read_shown(files: Sequence[str]) -> pd.DataFrame:
    """The attention of the sentence that is shown token by token."""
    (path,) = files
    return attention_table.read_shown_texts(path)
