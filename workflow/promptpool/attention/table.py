"""attention.parquet: its columns, how its parts are joined, and how its two halves are read."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..artifacts.files import atomic_path
from .spans import MEAN, SPANS

CHECKPOINT = ["model", "adapter", "step", "prompt"]
# A row is one text in one layer, for one head or their mean. `text`, `tokens`, `spans` and `weights` (one entry per
# token) exist only for the few texts that are shown, and only on rows of the mean. Token rows for all texts would make
# the file 20 times as large.
ATTENTION_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("adapter", pa.string()),  # only the name, `base` for none
        ("step", pa.int32()),
        ("prompt", pa.string()),
        ("layer", pa.int16()),  # attention layers from 0
        ("head", pa.int16()),  # from 0; -1 for the mean over heads
        ("text_id", pa.int32()),  # 0 is the chosen sentence, which no mean includes
        *((span, pa.float32()) for span in SPANS),  # shares; they sum to 1
        ("entropy", pa.float32()),  # of the row, in nats
        ("length", pa.int32()),  # tokens, including the prompt's
        ("text", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("spans", pa.list_(pa.string())),
        ("weights", pa.list_(pa.float32())),
    ]
)
MEASURED = [*CHECKPOINT, "layer", "head", "text_id", *SPANS, "entropy"]
SHOWN_COLUMNS = [*CHECKPOINT, "layer", "text_id", "text", "tokens", "spans", "weights"]

CONTENT, FUNCTION = "content", "function"  # kinds of words
OMISSION_COLUMNS = [*CHECKPOINT, "text_id", "word", "kind", "effect"]


def join(parts: Sequence[str | Path], out: str | Path) -> None:
    """Writes the parts as one file, in the given order. Only one row group is in memory at a time."""
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, ATTENTION_SCHEMA, compression="zstd") as writer:
        for part in parts:
            with pq.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group))


def read_measured(path: str | Path, adapter: str | None = None) -> pd.DataFrame:
    """The shares of all texts that enter means: MEASURED's columns, without the chosen sentence.

    adapter: reads only this one.
    """
    wanted = [("text_id", ">", 0), *([("adapter", "==", adapter)] if adapter else [])]
    return pd.read_parquet(path, columns=MEASURED, filters=wanted)


def read_shown_texts(path: str | Path) -> pd.DataFrame:
    """The texts that are kept token by token: SHOWN_COLUMNS, in the file's order."""
    return pd.read_parquet(
        path, columns=SHOWN_COLUMNS, filters=(pc.field("head") == MEAN) & pc.field("text").is_valid()
    )
