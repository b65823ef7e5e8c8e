"""The figure of a benchmark: each checkpoint's average, beside what others have published on the same tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.score_means import variant_means
from ..analysis.score_table import BASELINE, checkpoint_name, checkpoint_order
from ..errors import PromptpoolError
from ..variants import layer_name
from .palette import BLUE, FAINT, FLOOR_LINES, GREY, INK, PURPLE
from .style import WIDTH, drawing, grid, reference_lines

MOST_CHECKPOINTS = 24  # checkpoints that are drawn; if there are more, the best ones


def benchmark(
    scores: pd.DataFrame,
    facts: Mapping[str, Mapping],
    tasks: Sequence[str],
    out: str | Path,
    *,
    title: str,
    lines: Sequence[Mapping] = (),
    measure: str = "V-measure",
) -> None:
    """The average over a benchmark's tasks: for each checkpoint all variants (faint) and the best, with its interval.

    tasks: all of the benchmark's. A checkpoint without a variant that has them all is drawn as missing. lines:
    published averages (`label`, `value` times 100), drawn dashed and named. We did not measure them.
    """
    means = variant_means(scores, facts, tasks)
    variants = means[means["adapter"] != BASELINE]
    if variants.empty:
        raise PromptpoolError(f"benchmark: no variant is scored on a task of {title}; score at least one")
    groups = list(checkpoint_order(variants).groupby(["model", "adapter", "step"], sort=False))
    dropped = len(groups) - MOST_CHECKPOINTS
    if dropped > 0:
        best = sorted(groups, key=lambda group: -np.nan_to_num(group[1]["mean"].max()))[:MOST_CHECKPOINTS]
        kept = {key for key, _ in best}
        groups = [group for group in groups if group[0] in kept]
    several = variants["model"].nunique() > 1
    size = (min(WIDTH, max(3.6, 1.9 + 0.55 * len(groups)) + 1.6 * bool(lines)), 3.4)
    with drawing(out, figsize=size) as (figure, axis):
        names = []
        for place, ((model, adapter, step), rows) in enumerate(groups):
            name = "untuned" if adapter == "base" else checkpoint_name(adapter, step)
            name = f"{name}\n{model}" if several else name
            scored = rows.dropna(subset=["mean"])
            if scored.empty:
                lacking = rows["missing"].str.split(", ").str.len().min()
                axis.annotate(f"lacks {lacking} of {len(tasks)} tasks", (place, 0.03), rotation=90, ha="center",
                              xycoords=("data", "axes fraction"), color=GREY, fontsize=7, gid="missing")  # fmt: skip
                names.append(name)
                continue
            axis.plot([place] * len(scored), scored["mean"] * 100, "_", color=FAINT, markersize=14, zorder=1)
            top = scored.loc[scored["mean"].idxmax()]
            colour = INK if adapter == "base" else BLUE
            if np.isfinite(top["low"]):
                axis.vlines(place, top["low"] * 100, top["high"] * 100, color=colour, linewidth=1.4, zorder=3)
            axis.plot(place, top["mean"] * 100, "o", color=colour, markersize=5, zorder=4)
            layer = "" if top["layer"] == -1 else f", L{layer_name(top['layer'])}"
            names.append(f"{name}\n{top['prompt']}, {top['pooling']}{layer}")
        turned = len(groups) > 3
        axis.set_xticks(range(len(groups)), names, rotation=40 if turned else 0, ha="right" if turned else "center",
                        rotation_mode="anchor" if turned else None, fontsize=7)  # fmt: skip
        axis.set_xlim(-0.6, len(groups) - 0.4)
        axis.margins(y=0.12)
        floors = means[(means["adapter"] == BASELINE) & means["mean"].notna()]
        floor_lines = [(row.model, row.mean * 100, (row.low * 100, row.high * 100), FLOOR_LINES.get(row.model, "-."))
                       for row in floors.itertuples()]  # fmt: skip
        heights = [line[1] for line in floor_lines] + [line["value"] for line in lines]
        if heights:
            low, high = axis.get_ylim()
            margin = 0.04 * (max(high, *heights) - min(low, *heights))
            axis.set_ylim(min(low, *(h - margin for h in heights)), max(high, *(h + margin for h in heights)))
        known = [(f"{line['label']} {line['value']:.1f}", line["value"], None, "--") for line in lines]
        axis.set_ylabel(f"{measure} × 100")
        grid(axis, "y")
        heading = f"{title}: mean over its {len(tasks)} tasks; bars: 95 % intervals"
        if lines:
            heading += "\ndashed, named with a number: published by others, not measured here"
        if dropped > 0:
            heading += f"\nthe best {MOST_CHECKPOINTS} of {len(groups) + dropped} checkpoints"
        figure.suptitle(heading, x=0.01, ha="left", fontsize=8)
        reference_lines(axis, [*floor_lines, *known], [GREY] * len(floor_lines) + [PURPLE] * len(known))
