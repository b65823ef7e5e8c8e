"""The figure of tuned against untuned: every task's score before and after, with the paired interval."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import PromptpoolError
from .palette import BLUE, FAINT, GREY, INK, RED
from .style import WIDTH, drawing, grid

ROW = 0.21  # inches per task
MISSING = "not scored"


def tuned(table: pd.DataFrame, out: str | Path, measure: str = "V-measure") -> None:
    """One panel per adapter: each task's untuned score (hollow), tuned score, and the difference's 95 % interval.

    table: an ablation over adapters whose baseline is `base`. For each adapter, the step with the highest mean is
    shown. A task that an adapter was not scored on is marked as such and has no dot.
    """
    best = best_steps(table)
    if not best:
        raise PromptpoolError("tuned: the table has no `name@step`; vary the adapter in this ablation")
    rows = table.assign(value=table["value"].astype(str)).set_index(["value", "task"])
    gain = rows.loc[best[0]]["estimate"]
    tasks = [task for task in dict.fromkeys(table["task"]) if task != "mean"]
    order = [*sorted(tasks, key=lambda task: -gain.get(task, -np.inf)), "mean"]
    columns = min(3, len(best))
    lines = -(-len(best) // columns)
    size = (min(WIDTH, max(4.3, 1.9 + 1.75 * columns)), lines * (ROW * len(order) + 0.5) + 0.75)
    with drawing(out, nrows=lines, ncols=columns, sharex=True, sharey=True, figsize=size, squeeze=False) as (
        figure,
        axes,
    ):
        for place, axis in enumerate(axes.flat):
            if place >= len(best):
                axis.set_axis_off()
                continue
            for height, task in enumerate(order):
                _row(axis, height, rows.loc[(best[place], task)] if (best[place], task) in rows.index else None, task)
            axis.axhline(len(order) - 1.5, color=GREY, linewidth=0.6)
            mean = f"mean over {len(tasks)} task{'s' * (len(tasks) != 1)}"
            axis.set_yticks(range(len(order)), [mean if task == "mean" else task for task in order])
            axis.set_ylim(len(order) - 0.4, -0.6)
            axis.spines["left"].set_visible(False)
            axis.set_title(best[place])
            grid(axis, "x")
        figure.supxlabel(f"{measure} × 100; bars: 95 % interval of the difference to untuned", fontsize=8)
        handles = [axes[0, 0].plot([], [], "o", color=INK, mfc="white", markersize=5)[0]]
        handles += [axes[0, 0].plot([], [], "o", color=colour, markersize=5)[0] for colour in (BLUE, RED, GREY)]
        names = ["untuned", "better", "worse", "no clear difference"]
        figure.legend(handles, names, loc="outside upper left", ncols=4, handletextpad=0.3, columnspacing=1.2)


def best_steps(table: pd.DataFrame) -> list[str]:
    """Each adapter's `name@step` with the highest mean, by name. On a tie, the earlier step."""
    means = table[(table["task"] == "mean") & table["value"].astype(str).str.contains("@")].copy()
    if means.empty:
        return []
    means["adapter"] = means["value"].str.rpartition("@")[0]
    means["step"] = means["value"].str.rpartition("@")[2].astype(int)
    means = means.sort_values(["adapter", "score", "step"], ascending=[True, False, True])
    return means.drop_duplicates("adapter")["value"].tolist()


def _row(axis, height: int, row: pd.Series | None, task: str) -> None:
    if row is None or not np.isfinite(row["score"]):
        axis.annotate(MISSING, (0.02, height), xycoords=("axes fraction", "data"), va="center", color=GREY,
                      fontsize=7, fontstyle="italic", gid="missing")  # fmt: skip
        return
    score, start = row["score"] * 100, (row["score"] - row["estimate"]) * 100
    known = np.isfinite(row["low"]) and np.isfinite(row["high"])
    clear = known and (row["low"] > 0 or row["high"] < 0)
    colour = (BLUE if row["estimate"] > 0 else RED) if clear else GREY
    axis.plot([start, score], [height, height], color=FAINT, linewidth=3, solid_capstyle="butt", zorder=1)
    if known:
        axis.hlines(height, start + row["low"] * 100, start + row["high"] * 100, color=colour, linewidth=1.2, zorder=2)
    bold = task == "mean"
    axis.plot(start, height, "o", color=INK, mfc="white", markersize=5, zorder=3)
    axis.plot(score, height, "D" if bold else "o", color=colour, markersize=5, zorder=4)
