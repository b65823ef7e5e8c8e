"""The report's section on an adapter's hard negatives: how many there are, how similar, and some to read."""

import json
from pathlib import Path

from .pairs import contamination, cut, reasons


def negatives_section(name: str, qc: str | Path) -> dict:
    """One adapter's hard negatives for the template, from their qc.json (`pairs.negatives_qc`).

    Returns name, source (given or mined), pairs, asked (a pair), chosen, distinct, most_used, without (pairs that have
    none), rejected [(reason, count)], contamination, histogram [(lower bound, positives, negatives)], and samples.
    """
    known = json.loads(Path(qc).read_text(encoding="utf-8"))
    similarity = known["similarity"]
    bins = sorted({*similarity["positive"], *similarity["negative"]}, key=float)
    return {
        "name": name,
        "source": known["from"],
        **{key: known[key] for key in ("pairs", "asked", "chosen", "distinct", "most_used")},
        "without": known["pairs_with"].get("0", 0),
        "rejected": reasons(known),
        "contamination": contamination(known),
        "histogram": [(low, similarity["positive"].get(low, 0), similarity["negative"].get(low, 0)) for low in bins],
        "samples": [
            {**{key: cut(row[key]) for key in ("text", "positive", "negative")}, "similarity": row["similarity"]}
            for row in known["samples"]
        ],
    }
