"""Figures over layers: the score by layer, and by the cost to compute it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.score_means import variant_means
from ..analysis.score_table import BASELINE, checkpoint_name, checkpoint_order
from ..errors import PromptpoolError
from ..variants import RAW, split_readout
from .palette import FLOOR_LINES, GREY, SERIES
from .style import WIDTH, drawing, grid, reference_lines, series

WIDE = 30  # costs are on a logarithmic axis if the dearest is this many times the cheapest


def layer_curves(
    scores: pd.DataFrame,
    facts: Mapping[str, Mapping],
    costs: pd.DataFrame,
    out: str | Path,
    measure: str = "V-measure",
) -> None:
    """Mean score against the layer, one line per pooling, one panel per checkpoint and prompt of each model.

    costs: maps a layer's name to the layer of its model (columns model, layer, number, depth). Each checkpoint is shown
    under the prompt that does best at any layer, untuned first; of an adapter's steps only the best. A layer that was
    not scored on every task leaves a gap in its line. Post-processed poolings would be too many lines and are left out.
    """
    means = variant_means(scores, facts)
    raw = means["pooling"].map(lambda name: split_readout(name)[1] == RAW)
    means = means[(means["adapter"] != BASELINE) & raw]
    numbers = costs[["model", "layer", "number", "depth"]].drop_duplicates(["model", "layer"])
    means = means.merge(numbers, on=["model", "layer"], how="inner")
    if means["layer"].nunique() < 2:
        raise PromptpoolError("layer_curves: the grid has one layer; give grid.layers several")
    panels = best_panels(means)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    size = (min(WIDTH, 0.6 + 2.15 * columns), 2.0 * lines + 0.7)
    looks = series(sorted(means["pooling"].unique()))
    with drawing(out, nrows=lines, ncols=columns, sharey=True, figsize=size, squeeze=False) as (figure, axes):
        for place, axis in enumerate(axes.flat):
            if place >= len(panels):
                axis.set_axis_off()
                continue
            title, panel = panels[place]
            for shift, (pooling, part) in enumerate(panel.groupby("pooling", sort=True)):
                colour, marker = looks[pooling]
                part = part.drop_duplicates("number").sort_values("number")
                x = part["number"].to_numpy() + 0.06 * (shift - (panel["pooling"].nunique() - 1) / 2)
                mean, low, high = (part[key].to_numpy(dtype=float) * 100 for key in ("mean", "low", "high"))
                spread = np.nan_to_num(np.abs([mean - low, high - mean]))
                axis.errorbar(
                    x, mean, spread, color=colour, marker=marker, markersize=3.5, elinewidth=0.9, label=pooling
                )
            _mark_missing(axis, panel)
            depth = int(panel["depth"].iloc[0])
            axis.set_xlim(-0.5, depth + 0.5)
            axis.set_xticks(sorted({int(number) for number in panel["number"]}))
            axis.set_title(title, fontsize=7.5)
            grid(axis, "y")
        figure.supxlabel("layer that is pooled (0: the embeddings)", fontsize=8)
        figure.supylabel(f"{measure} × 100, mean over {scores['task'].nunique()} tasks", fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=6, columnspacing=1.2)


def _mark_missing(axis, panel: pd.DataFrame) -> None:
    """A cross at the foot for each layer without a pooling's score, because it is missing, not zero."""
    holes = sorted(panel.loc[panel["mean"].isna(), "number"].unique())
    if holes:
        axis.plot(holes, [0.03] * len(holes), "x", color=GREY, markersize=4, transform=axis.get_xaxis_transform(),
                  gid="missing", label="not scored")  # fmt: skip


def best_panels(means: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(title, rows) of each model's untuned checkpoint and each adapter's best step, under its best prompt."""
    several = means["model"].nunique() > 1
    panels = []
    ordered = checkpoint_order(means)
    for (model, adapter), group in ordered.groupby(["model", "adapter"], sort=False):
        top = group.sort_values("mean", ascending=False, kind="stable").iloc[0]
        rows = group[(group["step"] == top["step"]) & (group["prompt"] == top["prompt"])]
        name = "untuned" if adapter == "base" else checkpoint_name(adapter, top["step"])
        panels.append((f"{name}, prompt {top['prompt']}" + (f", {model}" if several else ""), rows))
    return panels


def cost_scores(
    scores: pd.DataFrame,
    facts: Mapping[str, Mapping],
    costs: pd.DataFrame,
    out: str | Path,
    measure: str = "V-measure",
) -> None:
    """Mean score against the floating-point operations that embed one text: a dot per variant, a colour per checkpoint.

    costs: columns model, prompt, eos, layer, flops (per text, mean over tasks). For each checkpoint, a line joins the
    variants that no cheaper one beats, drawn with their intervals; the others are faint. Baselines are lines, because
    they have no such cost. Variants without a mean or a cost are counted, not drawn.
    """
    means = variant_means(scores, facts)
    tasks = scores["task"].nunique()
    variants = means[means["adapter"] != BASELINE].copy()
    variants["eos"] = variants["pooling"].map(lambda name: split_readout(name)[0] == "eos")
    variants = variants.merge(costs, on=["model", "prompt", "eos", "layer"], how="left")
    lacking = int((variants["mean"].isna() | variants["flops"].isna()).sum())
    variants = variants.dropna(subset=["mean", "flops"])
    if variants.empty:
        raise PromptpoolError("cost_scores: no variant has both a score on every task and a cost; score the grid")
    states = shown_states(variants)
    several = variants["model"].nunique() > 1
    with drawing(out, figsize=(WIDTH * 0.75, 3.4)) as (figure, axis):
        looks = series([title for title, _ in states])
        for title, rows in states:
            colour, marker = looks[title]
            axis.plot(rows["flops"] / 1e9, rows["mean"] * 100, marker, color=colour, markersize=3, alpha=0.35,
                      linestyle="none", markeredgewidth=0)  # fmt: skip
            edge = frontier(rows)
            mean, low, high = (edge[key].to_numpy(dtype=float) * 100 for key in ("mean", "low", "high"))
            spread = np.nan_to_num(np.abs([mean - low, high - mean]))
            axis.errorbar(edge["flops"] / 1e9, mean, spread, color=colour, marker=marker, markersize=5,
                          elinewidth=0.9, linewidth=1, label=title)  # fmt: skip
        floors = means[(means["adapter"] == BASELINE) & means["mean"].notna()]
        if variants["flops"].max() > WIDE * variants["flops"].min() > 0:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("GFLOPs to embed one text with this variant alone")
        axis.set_ylabel(f"{measure} × 100")
        grid(axis, "y")
        gone = f"; {lacking} variants without a score or a cost are not shown" if lacking else ""
        title = f"Mean over {tasks} task{'s' * (tasks != 1)}; bars: 95 % intervals{gone}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=8)
        figure.legend(loc="outside lower left", ncols=2 if several else 3)
        reference_lines(axis, [
            (row.model, row.mean * 100, (row.low * 100, row.high * 100), FLOOR_LINES.get(row.model, "-."))
            for row in floors.itertuples()
        ])  # fmt: skip


def shown_states(own: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(title, rows) of each model's untuned checkpoint and each adapter's best step, at most as many as colours."""
    several, states = own["model"].nunique() > 1, []
    for (model, adapter), group in checkpoint_order(own).groupby(["model", "adapter"], sort=False):
        step = group.sort_values("mean", ascending=False, kind="stable")["step"].iloc[0]
        name = "untuned" if adapter == "base" else checkpoint_name(adapter, step)
        states.append((f"{model}, {name}" if several else name, group[group["step"] == step]))
    best = sorted(states, key=lambda state: -state[1]["mean"].max())
    return best[: len(SERIES)]


def frontier(rows: pd.DataFrame) -> pd.DataFrame:
    """The variants that no cheaper or equally cheap one beats, by rising cost."""
    rows = rows.sort_values(["flops", "mean"], ascending=[True, False], kind="stable")
    return rows[rows["mean"] > rows["mean"].cummax().shift(fill_value=-np.inf)]
