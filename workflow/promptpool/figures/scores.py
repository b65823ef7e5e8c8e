"""Figures of scores: the effect of each choice, with its interval.

Every function takes tables and a path without suffix, and writes .svg and .png beside each other. Scores are drawn
times 100, as usual in the field; `measure` names what they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from ..analysis.score_means import variant_means
from ..analysis.score_table import BASELINE, checkpoint_name, checkpoint_order
from ..errors import PromptpoolError
from ..variants import layer_name
from .palette import FLOOR_LINES, FLOOR_NAMES, GREY, INK, PURPLE
from .style import WIDTH, drawing, grid, reference_lines, series
from .two_axes import two_axes

MISSING_CELL = {"hatch": "////", "facecolor": "white", "edgecolor": "#b0b0b0", "linewidth": 0, "gid": "missing"}
BAND = "#f3f3f3"


def heat_map(
    scores: pd.DataFrame, out: str | Path, facts: Mapping[str, Mapping] | None = None, measure: str = "V-measure"
) -> None:
    """Prompt x pooling, mean score over tasks and half its 95 % interval; one panel per checkpoint, base first.

    scores: the tidy table; facts: by task (samples_by_variant). A cell that lacks a task is hatched, because it is
    missing, not zero.
    """
    variants = scores[scores["adapter"] != BASELINE]
    if variants.empty:
        raise PromptpoolError("heat_map: the scores hold no variant, only baselines; score at least one")
    tasks = variants["task"].unique()
    means = checkpoint_order(variant_means(variants, facts or {}))
    means["margin"] = (means["high"] - means["low"]) / 2
    several = {key: means[key].nunique() > 1 for key in ("model", "layer")}
    prompts, poolings = sorted(means["prompt"].unique()), sorted(means["pooling"].unique())
    columns = max(1, int(6.1 / (0.38 * len(poolings) + 0.1)))
    # Each row of panels holds an adapter's checkpoints, broken where the page ends.
    lines = []
    for _, adapter in means.groupby(["model", "layer", "adapter"], sort=False):
        panels = list(adapter.groupby(["model", "layer", "adapter", "step"], sort=False))
        lines += [panels[start : start + columns] for start in range(0, len(panels), columns)]
    columns = max(map(len, lines))
    size = (columns * (0.38 * len(poolings) + 0.1) + 1.5, len(lines) * (0.36 * len(prompts) + 0.3) + 1.0)
    values = means["mean"].dropna() * 100
    scale = Normalize(values.min() if len(values) else 0, values.max() if len(values) else 1)
    with drawing(out, nrows=len(lines), ncols=columns, figsize=size, squeeze=False) as (figure, axes):
        for (line, column), axis in np.ndenumerate(axes):
            if column >= len(lines[line]):
                axis.set_axis_off()
                continue
            (model, layer, adapter, step), group = lines[line][column]
            cells = group.pivot_table(index="prompt", columns="pooling", values="mean", dropna=False)
            cells = cells.reindex(index=prompts, columns=poolings).to_numpy(dtype=float) * 100
            margins = group.pivot_table(index="prompt", columns="pooling", values="margin", dropna=False)
            margins = margins.reindex(index=prompts, columns=poolings).to_numpy(dtype=float) * 100
            image = axis.imshow(cells, cmap="viridis", norm=scale, aspect="auto")
            for (y, x), value in np.ndenumerate(cells):
                if np.isnan(value):
                    axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **MISSING_CELL))
                else:
                    shade = "white" if scale(value) < 0.5 else INK
                    known = f"\n±{margins[y, x]:.1f}" if np.isfinite(margins[y, x]) else ""
                    axis.text(x, y, f"{value:.1f}{known}", ha="center", va="center", color=shade, fontsize=6.5)
            axis.set_xticks(range(len(poolings)), poolings, rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(len(prompts)), prompts)
            lowest = line + 1 == len(lines) or column >= len(lines[line + 1])
            axis.tick_params(length=0, labelbottom=lowest, labelleft=column == 0)
            for label in axis.get_xticklabels():
                # Names may hang into an empty place, so the lines need not move apart.
                label.set_in_layout(line + 1 == len(lines))
            axis.spines[:].set_visible(False)
            parts = [checkpoint_name(adapter, step)]
            parts += [model] * several["model"] + [f"layer {layer_name(layer)}"] * several["layer"]
            axis.set_title(", ".join(parts))
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 1.6 / size[1]), aspect=12, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(f"{measure} × 100")
        note = " ± half its 95 % interval" if means["margin"].notna().any() else ""
        note += "; hatched: not every task scored" if means["mean"].isna().any() or _holes(means) else ""
        noun = "task" if len(tasks) == 1 else "tasks"
        figure.suptitle(f"Mean over {len(tasks)} {noun}{note}", x=0.01, ha="left", fontsize=8)


def _holes(means: pd.DataFrame) -> bool:
    """Whether a checkpoint lacks a prompt x pooling that another has."""
    panels = means.groupby(["model", "layer", "adapter", "step"]).ngroups
    return len(means) < panels * means["prompt"].nunique() * means["pooling"].nunique()


def ablation(table: pd.DataFrame, out: str | Path, measure: str = "V-measure") -> None:
    """The difference to the baseline for each value of the varied thing, with 95 % intervals: the mean over tasks in
    black, single tasks fainter. At the right, each value's own mean and its wins, ties and losses over tasks.

    table: one ablation's table (ablation, task, value, baseline, score, estimate, low, high, p, n, wins, ties, losses).
    One over two things is drawn by `two_axes`.
    """
    if table.empty:
        raise PromptpoolError("ablation: the table has no row; score the variants that it compares")
    if "row" in table:
        return two_axes(table, out, measure)
    baseline = str(table["baseline"].iloc[0])
    values = [value for value in dict.fromkeys(table["value"].astype(str)) if value != baseline]
    tasks = sorted(set(table["task"]) - {"mean"})
    # More than six tasks can't be distinguished. They become one line of ticks, which still shows their spread.
    crowd = len(tasks) > 6
    looks = {task: (GREY, "|") for task in tasks} if crowd else series(tasks)
    counted = "wins" in table and len(tasks) > 1
    pitch = 0.45 if crowd else 0.30 + 0.10 * len(tasks)
    with drawing(out, figsize=(WIDTH * 0.8, max(1.3, len(values) * pitch + 0.9))) as (figure, axis):
        axis.axvline(0, color=GREY, linewidth=0.8)
        for band in range(0, len(values), 2):
            axis.axhspan(band - 0.3, band + 0.7, color=BAND, zorder=0)
        rows = table[table["value"].astype(str) != baseline]
        for task in ["mean", *tasks]:
            part = rows[rows["task"] == task]
            part = part.assign(value=part["value"].astype(str)).drop_duplicates("value").set_index("value")
            part = part.reindex([value for value in values if value in part.index])
            bold = task == "mean"
            slot = 0 if bold else 0.35 if crowd else 0.12 + 0.5 * (tasks.index(task) + 0.5) / len(tasks)
            y = np.array([values.index(value) for value in part.index]) + slot
            x, low, high = (part[name].to_numpy(dtype=float) * 100 for name in ("estimate", "low", "high"))
            colour, marker = (INK, "o") if bold else looks[task]
            if bold or not crowd:
                axis.hlines(y, low, high, color=colour, linewidth=2 if bold else 0.9, alpha=1 if bold else 0.55)
            label = "mean over tasks" if bold else task
            if crowd and not bold:
                label = f"{len(tasks)} single tasks" if task == tasks[0] else None
            axis.plot(x, y, marker, color=colour, markersize=6 if bold else 3.5, alpha=1 if bold else 0.65, label=label)
            if bold:
                for height, row in zip(y, part.to_dict("records"), strict=True):
                    axis.annotate(f"{row['score'] * 100:.1f}", (1, height), xycoords=("axes fraction", "data"),
                                  xytext=(4, 0), textcoords="offset points", va="center", fontweight="bold",
                                  fontsize=7.5)  # fmt: skip
                    if counted:
                        shown = "–".join(f"{row[key]:.0f}" for key in ("wins", "ties", "losses"))
                        axis.annotate(shown, (1, height), xycoords=("axes fraction", "data"), xytext=(30, 0),
                                      textcoords="offset points", va="center", fontsize=7)  # fmt: skip
        axis.set_yticks(range(len(values)), values)
        axis.set_ylim(len(values) - 0.3, -0.3)
        axis.spines["left"].set_visible(False)
        grid(axis, "x")
        own = rows.loc[rows["task"] == "mean", ["score", "estimate"]]
        start = f", which scores {(own['score'] - own['estimate']).mean() * 100:.1f}" if len(own) else ""
        axis.set_xlabel(f"{measure} × 100: difference to {baseline!r}{start}; bars are 95 % intervals")
        note = " and on how many tasks it wins–ties–loses" if counted else ""
        figure.suptitle(f"{table['ablation'].iloc[0]}: at the right, each one's mean score{note}",
                        x=0.01, ha="left", fontsize=8)  # fmt: skip
        figure.legend(loc="outside lower left", ncols=min(4, len(tasks) + 1))
    return None


def score_by_step(
    scores: pd.DataFrame,
    steps_table: pd.DataFrame,
    out: str | Path,
    facts: Mapping[str, Mapping] | None = None,
    measure: str = "V-measure",
    lines: Sequence[Mapping] = (),
) -> None:
    """Mean score against training step, one line per adapter; baselines as horizontal lines with their intervals.

    scores: the tidy table, from which only the baselines on the same tasks are read. steps_table: the ablation over
    adapters, whose values are `base` or `name@step`. Bars are the 95 % interval of the difference to the baseline.
    lines: averages published by others on exactly these tasks (`label`, `value` times 100).
    """
    rows = steps_table[steps_table["task"] == "mean"].copy()
    split = rows["value"].astype(str).str.extract(r"^(?P<adapter>.+?)(?:@(?P<step>\d+))?$")
    rows["adapter"], rows["step"] = split["adapter"], pd.to_numeric(split["step"]).fillna(0).astype(int)
    tuned = rows[rows["step"] > 0].sort_values(["adapter", "step"])
    if tuned.empty:
        raise PromptpoolError("score_by_step: the table has no `name@step`; vary the adapter in this ablation")
    with drawing(out, figsize=(WIDTH * (1.0 if lines else 0.7), 3.4 if lines else 2.9)) as (figure, axis):
        # The untuned model is step 0 of every line: its own row, or the baseline of the differences.
        start = float((tuned["score"] - tuned["estimate"]).mean())
        from_base = str(tuned["baseline"].iloc[0]) == "base"
        own = rows.loc[rows["value"].astype(str) == "base", "score"]
        base = float(own.iloc[0]) if len(own) else start if from_base else None
        names = list(dict.fromkeys(tuned["adapter"]))
        shift = 0.006 * tuned["step"].max()
        for position, (name, (colour, marker)) in enumerate(series(names).items()):
            part = tuned[tuned["adapter"] == name]
            score = part["score"].to_numpy(dtype=float) * 100
            below, above = ((part[edge] - part["estimate"]).to_numpy(dtype=float) * 100 for edge in ("low", "high"))
            # Lines with the same steps are drawn side by side, because their bars would hide each other.
            steps = part["step"].to_numpy() + shift * (position - (len(names) - 1) / 2)
            if base is not None:
                axis.plot([0, steps[0]], [base * 100, score[0]], color=colour, linewidth=1, alpha=0.6)
            spread = np.nan_to_num(np.abs(np.array([below, above])))
            axis.errorbar(steps, score, spread, color=colour, marker=marker, markersize=4, elinewidth=1, label=name)
        if base is not None:
            axis.plot([0], [base * 100], "o", color=INK, markersize=5, label="base", linestyle="none")
        axis.set_xticks(_ticks({0, *tuned["step"]}))
        axis.set_xlabel("training step")
        axis.set_ylabel(f"{measure} × 100")
        grid(axis, "y")
        tasks = steps_table.loc[steps_table["task"] != "mean", "task"].nunique()
        heading = f"Mean over {tasks} task{'s' * (tasks != 1)}"
        heading += f"; bars: 95 % interval of the difference to {tuned['baseline'].iloc[0]}"
        figure.suptitle(
            heading + ("\ndashed, purple: published by others" if lines else ""), x=0.01, ha="left", fontsize=8
        )
        if lines:
            figure.legend(loc="outside lower left", ncols=4)
        else:
            axis.legend(loc="best")
        _horizontal(axis, scores, facts or {}, set(steps_table["task"]) - {"mean"}, lines)


def _ticks(steps: set[int]) -> list[int]:
    """The steps with enough space for a number; always the first."""
    kept: list[int] = []
    for step in sorted(steps):
        if not kept or step - kept[-1] >= 0.045 * max(steps):
            kept.append(step)
    return kept


def _horizontal(axis, scores: pd.DataFrame, facts: Mapping, tasks: set[str], lines: Sequence[Mapping]) -> None:
    """The baselines on these tasks, and the averages published on them."""
    kept = scores[(scores["adapter"] == BASELINE) & scores["task"].isin(tasks)]
    floors = variant_means(kept, facts, sorted(tasks)) if len(kept) else pd.DataFrame()
    drawn = []
    for row in floors.itertuples():
        label, dash = FLOOR_NAMES.get(row.model, row.model), FLOOR_LINES.get(row.model, "-.")
        drawn.append((label, row.mean * 100, (row.low * 100, row.high * 100), dash))
    drawn = [one for one in drawn if np.isfinite(one[1])]
    known = [(f"{line['label']} {line['value']:.1f}", line["value"], None, "--") for line in lines]
    heights = [one[1] for one in drawn + known]
    if heights:
        low, high = axis.get_ylim()
        low, high = min(low, *heights), max(high, *heights)
        axis.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        reference_lines(axis, [*drawn, *known], [GREY] * len(drawn) + [PURPLE] * len(known), size=7.5)
