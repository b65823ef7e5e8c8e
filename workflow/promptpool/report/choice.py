"""The content of the section on the choice without labels: what each criterion chose, and how well it ranks."""

from collections.abc import Mapping

import pandas as pd

from ..analysis.choice_rows import CHOSEN, TO_BEST, TO_PAPER, choice_lines


def choice_content(outcome: pd.DataFrame, agreement: pd.DataFrame) -> dict:
    """`lines`: those of the summary; `rows`: for each criterion `criterion`, `proposed`, `label`, and under `chosen`,
    `best` and `paper` a score with its interval, None if there is none; `agreement`: its rows as they are.
    """
    rows = []
    for criterion, own in outcome.groupby("criterion", sort=False):
        known = {one["row"]: one for one in own.to_dict("records")}
        names = {"chosen": CHOSEN, "best": TO_BEST, "paper": TO_PAPER}
        found = {name: _numbers(known.get(row)) for name, row in names.items()}
        first = known[CHOSEN]
        rows.append({"criterion": criterion, "proposed": bool(first["proposed"]), "label": first["label"], **found})
    best = next((one["other"] for one in outcome.to_dict("records") if one["row"] == TO_BEST), "")
    paper = next((one["other"] for one in outcome.to_dict("records") if one["row"] == TO_PAPER), "")
    shown = {"lines": choice_lines(outcome, agreement), "rows": rows, "best": best, "paper": paper}
    return {**shown, "agreement": agreement.to_dict("records"), "candidates": int(outcome["candidates"].iloc[0])}


def _numbers(row: Mapping | None) -> dict | None:
    known = row is not None and pd.notna(row["score"])
    return {key: float(row[key]) for key in ("score", "low", "high")} if known else None
