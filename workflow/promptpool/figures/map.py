"""The figure of the map: the same texts before and after tuning, coloured by label."""

from pathlib import Path

import pandas as pd

from ..analysis.score_table import checkpoint_name, checkpoint_order
from .map_labels import OTHERS, agreement, label_looks
from .palette import GREY
from .style import WIDTH, drawing, empty


def text_map(table: pd.DataFrame, out: str | Path, *, title: str = "") -> None:
    """One panel per checkpoint, untuned first, each with its own t-SNE of the same texts.

    table: map_texts's. At most eight labels, those with the most texts, are coloured; the others are grey. Above each
    panel: how often a text's 10 nearest neighbours have its label, with the 95 % interval over texts.
    """
    looks = label_looks(table)
    panels = list(checkpoint_order(table).groupby(["adapter", "step"], sort=False))
    columns = max(1, min(3, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    with drawing(out, nrows=lines, ncols=columns, figsize=(min(WIDTH, 2.9 * columns), 2.75 * lines + 0.9),
                 squeeze=False) as (figure, axes):  # fmt: skip
        for axis, ((adapter, step), panel) in zip(axes.flat, panels, strict=False):
            rest = panel[~panel["label"].isin(list(looks))]
            axis.plot(rest["x"], rest["y"], ".", color=OTHERS, markersize=2.5, markeredgewidth=0, zorder=1)
            for label, (colour, marker) in looks.items():
                part = panel[panel["label"] == label]
                axis.plot(part["x"], part["y"], marker, color=colour, markersize=3.2, markeredgewidth=0, alpha=0.85)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_aspect("equal")
            axis.set_xlim(-1.06, 1.06)
            axis.set_ylim(-1.06, 1.06)
            axis.spines[:].set_visible(True)
            name = "untuned" if adapter == "base" else checkpoint_name(adapter, step)
            mean, margin = agreement(panel)
            axis.set_title(f"{name}\n{mean:.0f} ± {margin:.0f} % of neighbours share the label")
        for axis in axes.flat[len(panels) :]:
            empty(axis, "")
        handles = [axes[0, 0].plot([], [], marker, color=colour, markersize=4, linestyle="none")[0]
                   for colour, marker in looks.values()]  # fmt: skip
        names = [label if len(label) <= 28 else label[:27] + "…" for label in looks]
        others = table["label"].nunique() - len(looks)
        if others:
            handles.append(axes[0, 0].plot([], [], ".", color=OTHERS, markersize=5, linestyle="none")[0])
            names.append(f"{others} other label{'s' * (others > 1)}")
        figure.legend(handles, names, loc="outside lower left", ncols=3, handletextpad=0.2, columnspacing=1.0)
        count = table["text"].nunique()
        prefix = f"{title}: " if title else ""
        figure.suptitle(f"{prefix}{count} texts, t-SNE without units", x=0.01, ha="left", fontsize=8, color=GREY)
