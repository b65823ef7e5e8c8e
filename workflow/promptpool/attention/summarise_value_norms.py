"""Summarises value norms like attention, with the plain attention's shares beside them."""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..artifacts.files import write_sidecar, write_table
from ..errors import PromptpoolError
from .summarise_attention import SUMMARY_COLUMNS, summary_table
from .table import CHECKPOINT, join

PLAIN_SHARES = {key: f"plain_{key}" for key in ("share", "share_low", "share_high", "estimate", "low", "high")}


def summarise_value_norms(
    parts: Sequence[str | Path], attention: str | Path, table_out: str | Path, summary_out: str | Path
) -> None:
    """Writes measure_value_norms' parts as one table, and its summary (`with_plain`), with sidecars.

    attention: summarise_attention's summary of the same texts.
    """
    started = time.time()
    join(parts, table_out)
    write_sidecar(table_out, inputs=parts, started=started)
    summary = with_plain(summary_table(parts), pd.read_parquet(attention))
    write_table(summary_out, summary, inputs=[*parts, attention], started=started)


def with_plain(summary: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """summary_table's rows of value norms, with PLAIN_SHARES's columns: what the plain attention says of the same row.

    Raises PromptpoolError if the plain attention lacks a row or has another number of texts.
    """
    keys = [*CHECKPOINT, "layer", "head", "span"]
    kept = plain[[*keys, *PLAIN_SHARES, "n"]].rename(columns={**PLAIN_SHARES, "n": "plain_n"})
    both = summary.merge(kept, how="left", on=keys, validate="one_to_one")
    if not (both["plain_n"] == both["n"]).all():
        raise PromptpoolError("attention: value norms and attention are of other texts or layers; measure both again")
    return both[[*SUMMARY_COLUMNS, *PLAIN_SHARES.values()]]
