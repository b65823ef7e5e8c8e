"""The properties of an adapter's hard negatives, in numbers and samples."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from .qc import BIN

NEGATIVES_SAMPLED = 20


def negatives_quality(
    table: pd.DataFrame, good: pd.DataFrame, found: pd.DataFrame, hits: Mapping[str, tuple], spec: Mapping
) -> dict:
    """Summarises the negatives of an adapter's pairs.

    table: the pairs, with their `similarity`; good: the chosen negatives (row, text, positive, negative, place, rank,
    similarity); found: all that were looked at, with their `reason`; hits: negative -> (task, Hit) of the contaminated.
    `pairs_with`: how many pairs have 0, 1, ... negatives; `most_used`: how many pairs share the most frequent one;
    `similarity`: histograms, lower bound -> count, of a text's cosine with its positive and with its negatives.
    """
    each = np.bincount(good["row"], minlength=len(table))
    uses = good["negative"].value_counts()
    drawn = good.sample(min(NEGATIVES_SAMPLED, len(good)), random_state=0).sort_index()
    own = table["similarity"]
    return {
        "from": spec["from"],
        "pairs": len(table),
        "asked": spec["count"],
        "chosen": len(good),
        "pairs_with": {str(number): int((each == number).sum()) for number in range(spec["count"] + 1)},
        "distinct": len(uses),
        "most_used": int(uses.max()),
        "rejected": dict(sorted(Counter(found["reason"].dropna()).items())),
        "contamination": {
            **{kind: sum(hit.kind == kind for _, hit in hits.values()) for kind in ("exact", "near")},
            "tasks": dict(sorted(Counter(task for task, _ in hits.values()).items())),
        },
        "similarity": {"positive": histogram(own), "negative": histogram(good["similarity"])},
        "samples": [
            {"text": row.text, "positive": row.positive, "negative": row.negative,
             "similarity": {"positive": round(float(own[row.row]), 3), "negative": round(float(row.similarity), 3)}}
            for row in drawn.itertuples()
        ],
    }  # fmt: skip


def histogram(cosines: pd.Series) -> dict[str, int]:
    """Lower bound of each bin that holds any -> count; bins of width BIN from -1 to 1."""
    counts = Counter(np.clip(np.floor(cosines / BIN + 1e-6).astype(int), round(-1 / BIN), round(1 / BIN) - 1))
    return {f"{place * BIN:.2f}": counts[place] for place in sorted(counts)}
