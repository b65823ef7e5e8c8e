"""The figure of value norms: where the last token looks, and what it takes from there, by checkpoint."""

from pathlib import Path

import pandas as pd
from matplotlib.lines import Line2D

from ..analysis.score_table import checkpoint_name, checkpoint_order
from ..attention.spans import MEAN
from ..errors import PromptpoolError
from .palette import INK, SPAN_COLOURS
from .style import WIDTH, drawing, grid

COMPARED_SPANS = {"content": "content words", "sink": "first token"}
APART = 0.17  # of a row, up and down: the plain share above, the weighted one below


def value_norms(summary: pd.DataFrame, out: str | Path) -> None:
    """The content words' and the first token's share of attention (a ring) and of attention weighted by value norms (a
    dot), with their 95 % intervals, over the mean of all layers. Checkpoints down; a row of panels for each model and
    prompt.

    summary: summarise_value_norms' table.
    """
    table = summary[(summary["head"] == MEAN) & summary["span"].isin(COMPARED_SPANS)]
    if table.empty:
        raise PromptpoolError("value_norms: no shares; measure at least one text")
    one = table.groupby("model")["layer"].transform("min")  # the mean over layers, or the only layer
    table = checkpoint_order(table[table["layer"] == one])
    blocks = list(table.groupby(["model", "prompt"], sort=False))
    several = table["model"].nunique() > 1
    heights = [len(group[["adapter", "step"]].drop_duplicates()) for _, group in blocks]
    size = (WIDTH, 0.3 * sum(heights) + 0.32 * len(blocks) + 0.75)
    settings = {"height_ratios": heights, "squeeze": False, "sharex": "col", "sharey": "row"}
    with drawing(out, nrows=len(blocks), ncols=len(COMPARED_SPANS), figsize=size, **settings) as (figure, axes):
        for line, ((model, prompt), group) in zip(axes, blocks, strict=True):
            rows = list(dict.fromkeys(group[["adapter", "step"]].itertuples(index=False, name=None)))
            for axis, (span, name) in zip(line, COMPARED_SPANS.items(), strict=True):
                for row in group[group["span"] == span].itertuples():
                    place, colour = rows.index((row.adapter, row.step)), SPAN_COLOURS[span]
                    plain, weighted = (row.plain_share_low, row.plain_share_high), (row.share_low, row.share_high)
                    for y, (low, high), share, face in (
                        (place - APART, plain, row.plain_share, "white"), (place + APART, weighted, row.share, colour)
                    ):  # fmt: skip
                        axis.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=1.2)
                        axis.plot([100 * share], [y], "o", color=colour, markerfacecolor=face, markersize=4.5)
                grid(axis, "x")
                axis.set_title(f"{name}, prompt {prompt}" + (f", {model}" if several else ""))
                axis.tick_params(axis="y", length=0)
            line[0].set_yticks(range(len(rows)), [checkpoint_name(*row) for row in rows])
            line[0].set_ylim(len(rows) - 0.5, -0.5)
        marks = [
            Line2D([], [], marker="o", color=INK, markerfacecolor=face, linestyle="", markersize=4.5, label=label)
            for face, label in (("white", "attention"), (INK, "attention weighted by value norms"))
        ]
        figure.legend(handles=marks, loc="outside upper right", ncols=2, borderpad=0)
        over = "mean over layers" if (table["layer"] == MEAN).any() else "one layer"
        figure.supxlabel(f"share, %, {over}, mean of {table['n'].max()} texts with 95 % interval", fontsize=8)
