"""Which pairs an adapter is trained on and which it is validated on, from the files of its sets."""

from collections.abc import Mapping, Sequence

import pandas as pd

from .hard_negatives import with_negatives
from .shuffled_positives import SHUFFLED, shuffled_positives
from .validation import hold_out


def training_pairs(pairs: Sequence[str], negatives: str | None, spec: Mapping) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(pairs to train on, pairs to validate on): text, positive, style, source_id, and set, the number of the file.

    negatives: the hard negatives of these pairs, or None. Those to train on have the columns negative_1, ... then. No
    text of a held-out pair is among them.
    """
    table = pd.concat([pd.read_parquet(path).assign(set=i) for i, path in enumerate(pairs)], ignore_index=True)
    kept, held = hold_out(table, spec["validation"], spec["seed"])
    if negatives:
        out = table[~table.index.isin(kept.index)]
        banned = set(out["text"]) | set(out["positive"])
        kept = with_negatives(kept, pd.read_parquet(negatives), spec["hard_negatives"]["count"], banned)
    if spec.get("positives") == SHUFFLED:
        kept = shuffled_positives(kept, spec["seed"])
    return kept, held
