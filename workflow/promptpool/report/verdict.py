"""The content of the page's first section: the verdict from held-out pairs, and its table."""

import json
from collections.abc import Mapping
from pathlib import Path

from ..scoring.pair_retrieval import RETRIEVAL_MEASURES
from ..scoring.verdict import ORDER, TUNED


def verdict_content(path: Path) -> dict:
    """What the section shows of verdict.json: its lines, and `rows`, one for each measure and search.

    A row: measure, search, value, low, high (shares, 0 to 1), and `gain`: value, low, high of the tuned model's
    difference to that search, None for the tuned model itself.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        {"measure": measure, "search": search, **score, "gain": _gain(both, search)}
        for measure in RETRIEVAL_MEASURES
        if (both := content["measures"].get(measure))
        for search, score in sorted(both["scores"].items(), key=lambda one: ORDER.index(one[0]))
    ]
    return {**content, "rows": rows}


def _gain(both: Mapping, search: str) -> dict | None:
    return None if search == TUNED else both["differences"][search]
