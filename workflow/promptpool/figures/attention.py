"""Figures of attention: where the last token looks, before and after training."""

from itertools import compress, product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.patches import Patch

from ..analysis.score_table import checkpoint_name, checkpoint_order
from ..attention.spans import MEAN, SPANS
from ..errors import PromptpoolError
from ..statistics.estimates import LEVEL
from .palette import GREY, INK, SPAN_COLOURS
from .style import WIDTH, drawing, grid

SPAN_NAMES = {"sink": "first token", "content": "content words", "function": "function words, punctuation"}
STATE = ["model", "prompt", "adapter", "step"]
MOST_BARS = 24  # stacked bars; if there are more, only each adapter's first and last step are drawn
TILTED = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
MOST_CELLS = 14  # layers whose numbers are printed in the layer map


def attention_bars(shown: pd.DataFrame, out: str | Path) -> None:
    """One sentence's tokens as bars of the last token's attention in the last layer, under the first prompt. The panels
    are base, and each adapter's first and last step.

    shown: attention.table.read_shown's table. The sink (first token) is not a bar, because it would dwarf the others.
    Its share is in the panel's title.
    """
    shown = shown[(shown["text_id"] == 0) & (shown["prompt"] == shown["prompt"].iloc[:1].squeeze())]
    if shown.empty:
        raise PromptpoolError("attention_bars: the table lacks the sentence (text_id 0); measure attention again")
    last = shown.groupby("model")["layer"].transform("max")
    rows = list(checkpoint_order(ends(shown[shown["layer"] == last])).sort_values("model", kind="stable").itertuples())
    several = shown["model"].nunique() > 1
    # Panels of one model share the tokens, so only the last of them needs the names.
    named = [i + 1 == len(rows) or list(row.tokens) != list(rows[i + 1].tokens) for i, row in enumerate(rows)]
    size = (WIDTH, len(rows) * 0.85 + sum(named) * 0.75 + 0.4)
    with drawing(out, nrows=len(rows), figsize=size, squeeze=False, sharey=True) as (figure, axes):
        for axis, row, with_names in zip(axes[:, 0], rows, named, strict=True):
            places = np.arange(1, len(row.tokens))
            axis.bar(places, row.weights[1:] * 100, color=[SPAN_COLOURS[span] for span in row.spans[1:]], width=0.8)
            axis.set_xlim(0.4, len(row.tokens) - 0.4)
            axis.set_xticks(places)
            axis.tick_params(axis="x", length=0, labelbottom=with_names)
            if with_names:
                axis.set_xticklabels([printable(token) for token in row.tokens[1:]], rotation=90, fontsize=6.5)
            grid(axis, "y")
            title = checkpoint_name(row.adapter, row.step) + (f", {row.model}" if several else "")
            axis.set_title(f"{title}   (first token: {row.weights[0]:.0%}, not drawn)")
        legend(figure, {span for row in rows for span in row.spans[1:]})
        layers = " or ".join(str(layer) for layer in sorted({row.layer for row in rows}))
        figure.supylabel("attention of the last token, %", fontsize=8)
        figure.supxlabel(f"prompt {rows[0].prompt}, layer {layers}, mean over heads, one sentence", fontsize=8)


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of base, and of each adapter's first and last step."""
    steps = table.groupby(["model", "adapter"])["step"]
    return table[
        table["step"].isin([0]) | (table["step"] == steps.transform("min")) | (table["step"] == steps.transform("max"))
    ]


def printable(token: str) -> str:
    """A token as a tick's label, with visible spaces and line breaks, shortened if long."""
    name = token.strip() or repr(token)[1:-1].replace(" ", "␣")
    return name if len(name) <= 14 else name[:13] + "…"


def legend(figure, spans: set[str]) -> None:
    """The spans' colours, in reading order."""
    handles = [Patch(color=SPAN_COLOURS[span], label=SPAN_NAMES.get(span, span)) for span in SPANS if span in spans]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), handlelength=1, borderpad=0)


def attention_spans(summary: pd.DataFrame, out: str | Path) -> None:
    """Each span's share of the last token's attention, as bars that add up to 100 %, over the mean of all layers. A
    whisker at a part's end is its 95 % interval. Each prompt has a block, each checkpoint a row.

    summary: summarise_attention's table.
    """
    table = summary[(summary["head"] == MEAN) & summary["span"].isin(SPANS)]
    if table.empty:
        raise PromptpoolError("attention_spans: no shares; measure at least one text")
    one = table.groupby("model")["layer"].transform("min")  # the mean over layers, or the only layer
    table = checkpoint_order(table[table["layer"] == one])
    if table.groupby(STATE).ngroups > MOST_BARS:
        table = ends(table)
    blocks = list(table.groupby(["model", "prompt"], sort=False))
    several = table["model"].nunique() > 1
    heights = [len(group[["adapter", "step"]].drop_duplicates()) for _, group in blocks]
    size = (WIDTH, 0.21 * sum(heights) + 0.26 * len(blocks) + 0.75)
    settings = {"height_ratios": heights, "squeeze": False, "sharex": True}
    with drawing(out, nrows=len(blocks), figsize=size, **settings) as (figure, axes):
        for axis, ((model, prompt), group) in zip(axes[:, 0], blocks, strict=True):
            rows = list(dict.fromkeys(group[["adapter", "step"]].itertuples(index=False, name=None)))
            left = np.zeros(len(rows))
            for span in SPANS:
                part = group[group["span"] == span].set_index(["adapter", "step"]).reindex(rows)
                share, low, high = (part[key].to_numpy() * 100 for key in ("share", "share_low", "share_high"))
                if np.isnan(share).all():
                    continue  # the prompt lacks this span
                width, y = np.nan_to_num(share), np.arange(len(rows))
                axis.barh(y, width, left=left, color=SPAN_COLOURS[span], height=0.78)
                left = left + width
                axis.hlines(y, left + low - share, left + high - share, color=INK, linewidth=1)
                for row in y[width >= 4]:
                    axis.text(left[row] - width[row] / 2, row, f"{width[row]:.0f}", ha="center", va="center",
                              color=INK if span in LIGHT else "white", fontsize=6.5)  # fmt: skip
            axis.set_yticks(range(len(rows)), [checkpoint_name(*row) for row in rows])
            axis.set_ylim(len(rows) - 0.5, -0.5)
            axis.set_xlim(0, 100)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            axis.set_title(f"prompt {prompt}" + (f", {model}" if several else ""))
        legend(figure, set(table["span"]))
        over = "mean over layers" if (table["layer"] == MEAN).any() else "one layer"
        figure.supxlabel(
            f"share of the last token's attention, %, {over}, mean of {table['n'].max()} texts with 95 % interval",
            fontsize=8,
        )


LIGHT = ("prefix", "content", "function", "itself")  # colours on which dark text is easier to read


def attention_layers(summary: pd.DataFrame, out: str | Path) -> None:
    """The content words' share by layer and checkpoint, one panel for each prompt and adapter. A number is grey if
    Holm's test finds no difference from base.

    summary: summarise_attention's table. A cell that was not measured is white.
    """
    table = summary[(summary["head"] == MEAN) & (summary["span"] == "content") & (summary["layer"] != MEAN)]
    if table.empty:
        raise PromptpoolError("attention_layers: no layer was measured; measure at least one text")
    panels = []
    for model, of_model in table.groupby("model", sort=False):
        names = [name for name in of_model["adapter"].unique() if name != "base"] or ["base"]
        for name, (prompt, group) in product(names, of_model.groupby("prompt", sort=False)):
            panels.append((prompt, name, model, group[group["adapter"].isin(["base", name])]))
    # Each row of panels is one adapter, if its prompts fit into one row.
    several = [True, len({panel[1] for panel in panels}) > 1, table["model"].nunique() > 1]
    columns = min(3, table["prompt"].nunique())
    lines = -(-len(panels) // columns)
    depth = int(table.groupby("model")["layer"].nunique().max())
    height = min(0.24, 2.4 / depth) * depth
    scale = Normalize(table["share"].min() * 100, table["share"].max() * 100)
    size = (WIDTH, lines * (height + 0.3 + 0.15 * sum(several)) + 0.45)
    with drawing(out, nrows=lines, ncols=columns, figsize=size, squeeze=False) as (figure, axes):
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for number, (axis, (prompt, adapter, model, group)) in enumerate(zip(axes.flat, panels, strict=False)):
            cells, sure = (
                group.pivot_table(index="layer", columns="step", values=key, aggfunc="first", dropna=False)
                for key in ("share", "p_holm")
            )
            image = axis.imshow(cells * 100, cmap="viridis", norm=scale, aspect="auto", origin="lower")
            if depth <= MOST_CELLS:
                for (y, x), share in np.ndenumerate(cells.to_numpy() * 100):
                    if np.isnan(share):
                        continue
                    differs = cells.columns[x] == 0 or sure.iloc[y, x] < 1 - LEVEL
                    dark = scale(share) >= 0.5
                    colour = (INK if dark else "white") if differs else (GREY if dark else "#b5b5c5")
                    axis.text(x, y, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=6.5)
            names = ["base" if step == 0 else str(step) for step in cells.columns]
            crowded = sum(map(len, names)) * columns > 48
            axis.set_xticks(range(len(names)), names, **(TILTED if crowded else {}))
            stride = 1 if depth <= MOST_CELLS else 4
            axis.set_yticks(range(0, len(cells), stride), cells.index[::stride])
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            if number % columns == 0:
                axis.set_ylabel("attention layer")
            axis.set_title("\n".join(compress((f"prompt {prompt}", adapter, model), several)))
        bar = figure.colorbar(
            image, ax=axes, label="content words, %", shrink=min(1, 1.6 / size[1]), aspect=12, pad=0.02
        )
        bar.outline.set_visible(False)
        figure.supxlabel(f"training step; mean over heads and {table['n'].max()} texts", fontsize=8)
