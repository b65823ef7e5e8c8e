"""Joins many parquet parts into one table, in a fixed order."""

import time
from collections.abc import Mapping, Sequence

import pandas as pd

from ..artifacts.files import write_table
from ..artifacts.parts import listed_files
from ..statistics.samples import SEED_COLUMN
from .seeds import with_seeds


def gather_scores(manifests: Sequence[str], out: str, keys: Sequence[str], seeds: Mapping[str, int]) -> None:
    """Writes all manifests' tables as one parquet sorted by `keys`. Equal inputs give equal rows in equal order.

    seeds: adapter -> its first seed (`with_seeds`).
    """
    started = time.time()
    parts = list(listed_files(manifests, ".parquet"))
    tables = [pd.read_parquet(part) for part in parts]
    if not tables:  # a study without tasks
        tables = [pd.DataFrame(columns=[*(key for key in keys if key != SEED_COLUMN), "experiment", "value"])]
    table = with_seeds(pd.concat(tables, ignore_index=True), seeds)
    table = table.sort_values(list(keys), kind="stable").reset_index(drop=True)
    write_table(out, table, inputs=[*manifests, *parts], started=started)
