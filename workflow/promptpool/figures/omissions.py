"""The figure of left-out words: how much more a content word does than a function word, by checkpoint."""

from pathlib import Path

import pandas as pd

from ..analysis.score_table import checkpoint_name, checkpoint_order
from ..attention.summarise_omissions import EFFECT_RATIO
from ..errors import PromptpoolError
from .palette import GREY, SERIES
from .style import WIDTH, drawing, grid


def omissions(summary: pd.DataFrame, out: str | Path) -> None:
    """The ratio of content words' mean effect to function words', a dot with its 95 % interval for each checkpoint; a
    panel for each model and prompt.

    summary: summarise_omissions' table.
    """
    table = summary[summary["measure"] == EFFECT_RATIO]
    if table.empty:
        raise PromptpoolError("omissions: no ratios; measure at least one text")
    blocks = list(checkpoint_order(table).groupby(["model", "prompt"], sort=False))
    several = table["model"].nunique() > 1
    heights = [len(group) for _, group in blocks]
    size = (WIDTH, 0.22 * sum(heights) + 0.3 * len(blocks) + 0.5)
    settings = {"height_ratios": heights, "squeeze": False, "sharex": True}
    with drawing(out, nrows=len(blocks), figsize=size, **settings) as (figure, axes):
        for axis, ((model, prompt), group) in zip(axes[:, 0], blocks, strict=True):
            names = list(dict.fromkeys(group["adapter"]))
            for place, row in enumerate(group.itertuples()):
                colour = GREY if row.adapter == "base" else SERIES[names.index(row.adapter) % len(SERIES)]
                axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.2)
                axis.plot([row.value], [place], "o", color=colour, markersize=4)
            axis.axvline(1, color=GREY, linewidth=0.6)
            axis.set_yticks(range(len(group)), [checkpoint_name(row.adapter, row.step) for row in group.itertuples()])
            axis.set_ylim(len(group) - 0.5, -0.5)
            axis.tick_params(axis="y", length=0)
            grid(axis, "x")
            axis.set_title(f"prompt {prompt}" + (f", {model}" if several else ""))
        figure.supxlabel(
            f"effect of leaving out a content word / a function word, {table['n'].max()} texts, 95 % interval",
            fontsize=8,
        )
