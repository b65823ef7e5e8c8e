"""What the summary and the report say of a choice without labels, from the tables of `choice.judge_choice`."""

from collections.abc import Iterator

import pandas as pd

from ..statistics.samples import VARIANT

# Rows of its table `outcome`, and whose rank correlations are those of all candidates.
CHOSEN, TO_BEST, TO_PAPER = "chosen", "chosen - best", "chosen - paper's"
ALL = "all candidates"
IN_THE_HEADLINE = {
    CHOSEN: "chosen without labels",
    TO_BEST: "chosen without labels - best candidate",
    TO_PAPER: "chosen without labels - the paper's recipe",
}


def choice_headline(outcome: pd.DataFrame) -> Iterator[dict]:
    """Rows of the headline: what the proposed variant scores, alone, minus the best candidate and minus the paper's."""
    for row in outcome[outcome["proposed"] & outcome["score"].notna()].to_dict("records"):
        kept = {key: row[key] for key in (*VARIANT, "label", "score", "low", "high", "n", "p", "detectable", "of")}
        kind = "score" if row["row"] == CHOSEN else "difference"
        yield {"row": IN_THE_HEADLINE[row["row"]], "kind": kind, "task": "mean", **kept, "seeds": 1}


def choice_lines(outcome: pd.DataFrame, agreement: pd.DataFrame) -> list[str]:
    """The proposal, what it scores, and how well its criterion ranks, a sentence a line."""
    own = outcome[outcome["proposed"]]
    first = own[own["row"] == CHOSEN].iloc[0]
    lines = [f"Held-out pairs alone chose {first['label']}, by {first['criterion']} of {first['candidates']} variants."]
    for row in own[own["score"].notna()].itertuples():
        if row.row == TO_BEST and row.other == row.label:
            lines.append("It is the best of them, which only the tasks' labels show.")
            continue
        sign = "" if row.row == CHOSEN else "+"
        numbers = f"{100 * row.score:{sign}.1f} [{100 * row.low:{sign}.1f}, {100 * row.high:{sign}.1f}]"
        lines.append({
            CHOSEN: f"On the tasks it scores {numbers}.",
            TO_BEST: f"Against the best, which only the tasks' labels show ({row.other}): {numbers}.",
            TO_PAPER: f"Against the paper's recipe ({row.other}): {numbers}.",
        }[row.row])  # fmt: skip
    ranked = agreement[(agreement["among"] == ALL) & (agreement["criterion"] == first["criterion"])]
    for row in ranked[ranked["spearman"].notna()].itertuples():
        lines.append(
            f"Its order of {row.n} variants against the tasks' scores: Spearman's rho {row.spearman:.2f}, "
            f"Kendall's tau {row.kendall:.2f}."
        )
    return lines
