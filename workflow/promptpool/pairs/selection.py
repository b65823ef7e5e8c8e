"""Which pairs are kept, once the whole set and every task's texts are known."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..text.near_duplicates import near_duplicates
from .contamination import Hit, contaminated
from .filters import first_uses


def find_contamination(
    table: pd.DataFrame, tasks: Mapping[str, str | Path], near: float | None
) -> dict[int, tuple[str, Hit]]:
    """Row -> (task, how) of the fit pairs whose text or positive is, or nearly is, a text of a task."""
    known: list[str] = []
    owners: list[str] = []
    for task, path in tasks.items():
        texts = pd.read_parquet(path, columns=["text"])["text"].tolist()
        known += texts
        owners += [task] * len(texts)
    fit = table.index[table["reason"].isna()]
    both = [text for column in ("text", "positive") for text in table.loc[fit, column]]
    found: dict[int, tuple[str, Hit]] = {}
    for place, hit in zip([*fit, *fit], contaminated(both, known, near), strict=True):
        if hit:
            found.setdefault(place, (owners[hit.which], hit))
    return found


def drop_repeated(table: pd.DataFrame, near: float | None) -> None:
    """Sets the reason of fit pairs whose positive, or nearly it, was given to an earlier text, in place."""
    fit = table.index[table["reason"].isna()]
    fresh = pd.Series(first_uses(table.loc[fit, "positive"].tolist()), index=fit, dtype=bool)
    table.loc[fit[~fresh], "reason"] = "duplicate"
    if near is not None:
        fit = fit[fresh]
        earlier = near_duplicates(table.loc[fit, "positive"].tolist(), near)
        table.loc[[place for place, first in zip(fit, earlier, strict=True) if first is not None], "reason"] = (
            "near-duplicate"
        )
