"""Figures of attention: where the last token looks, before training and after."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator

from .errors import PromptpoolError
from .figure_style import SPAN_COLOURS, WIDTH, drawing, grid
from .score_table import checkpoint, checkpoint_order

SHARES = ("sink", "prefix", "text", "suffix", "last")


def attention_bars(table: pd.DataFrame, out: str | Path) -> None:
    """The sentence's tokens as bars of the last token's attention in the last layer; a panel a checkpoint.

    table: run_attention's tables, joined. The sink (first token) is no bar, it would dwarf the others: its share
    stands in the panel's title.
    """
    last = -1 if (table["layer"] == -1).any() else table["layer"].max()
    shown = table[(table["text_id"] == 0) & (table["layer"] == last)]
    if shown.empty:
        raise PromptpoolError("attention_bars: the table lacks the sentence (text_id 0); measure attention again")
    panels = list(checkpoint_order(shown).groupby(["model", "prompt", "adapter", "step"], sort=False))
    several = {key: shown[key].nunique() > 1 for key in ("model", "prompt")}
    labels = [tuple(_labels(group)) for _, group in panels]
    # Panels of one prompt share the tokens: only the last of them needs the names.
    named = [i + 1 == len(panels) or labels[i] != labels[i + 1] for i in range(len(panels))]
    size = (WIDTH, len(panels) * 0.85 + sum(named) * 0.75 + 0.4)
    with drawing(out, nrows=len(panels), figsize=size, squeeze=False, sharey=True) as (figure, axes):
        for position, ((model, prompt, adapter, step), group) in enumerate(panels):
            axis, group = axes[position, 0], group.sort_values("position")
            bars = group[~group["sink"]]
            colours = [SPAN_COLOURS[span] for span in bars["span"]]
            axis.bar(bars["position"], bars["weight"], color=colours, width=0.8)
            axis.set_xlim(group["position"].min() + 0.4, group["position"].max() + 0.6)
            axis.set_xticks(bars["position"])
            axis.tick_params(axis="x", length=0, labelbottom=named[position])
            if named[position]:
                names = [label for label, sink in zip(labels[position], group["sink"], strict=True) if not sink]
                axis.set_xticklabels(names, rotation=90, fontsize=6.5)
            grid(axis, "y")
            sink = float(group.loc[group["sink"], "weight"].sum())
            parts = [checkpoint(adapter, step)]
            parts += [f"prompt {prompt}"] * several["prompt"] + [model] * several["model"]
            axis.set_title(f"{', '.join(parts)}   (first token: {sink:.0%}, not drawn)")
        spans = [span for span in ("prefix", "text", "suffix", "eos") if (shown["span"] == span).any()]
        handles = [Patch(color=SPAN_COLOURS[span], label=span) for span in spans]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(spans), handlelength=1, borderpad=0)
        figure.supylabel("attention of the last token", fontsize=8)


def _labels(group: pd.DataFrame) -> list[str]:
    """Tokens as printable tick labels: spaces and breaks made visible, long ones cut."""
    names = []
    for token in group.sort_values("position")["token"]:
        name = token.strip() or repr(token)[1:-1].replace(" ", "␣")
        names.append(name if len(name) <= 14 else name[:13] + "…")
    return names


def attention_spans(shares: pd.DataFrame, out: str | Path) -> None:
    """The share of the last token's attention that each span gets, by checkpoint, with 95 % intervals.

    shares: span_shares' table. A panel a span, a row a checkpoint (and layer, prompt or model, where they differ).
    """
    if shares.empty:
        raise PromptpoolError("attention_spans: no shares; measure at least one text")
    ordered = checkpoint_order(shares)
    several = {key: shares[key].nunique() > 1 for key in ("model", "prompt", "layer")}
    keys = ["model", "prompt", "layer", "adapter", "step"]
    rows = list(dict.fromkeys(ordered[keys].itertuples(index=False, name=None)))
    names = [_row_name(dict(zip(keys, row, strict=True)), several) for row in rows]
    size = (WIDTH, max(1.2, 0.22 * len(rows) + 0.75))
    with drawing(out, ncols=len(SHARES), figsize=size, sharey=True, sharex=True) as (figure, axes):
        for axis, span in zip(axes, SHARES, strict=True):
            part = ordered[ordered["span"] == span].set_index(keys).reindex(pd.MultiIndex.from_tuples(rows, names=keys))
            y = np.arange(len(rows))
            colour = SPAN_COLOURS[span]
            axis.hlines(y, part["low"] * 100, part["high"] * 100, color=colour, linewidth=1.6)
            axis.plot(part["share"] * 100, y, "o", color=colour, markersize=4, clip_on=False)
            axis.set_title({"sink": "first token", "last": "itself"}.get(span, span))
            axis.set_yticks(y, names)
            grid(axis, "x")
            axis.spines["left"].set_visible(False)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        axes[0].set_xlim(left=0)
        axes[0].xaxis.set_major_locator(MultipleLocator(20))
        texts = int(shares["n"].max())
        figure.supxlabel(
            f"share of the last token's attention, %, mean of {texts} texts with 95 % interval", fontsize=8
        )


def _row_name(row: dict, several: dict[str, bool]) -> str:
    parts = [checkpoint(row["adapter"], row["step"])]
    parts += [str(row["prompt"])] * several["prompt"] + [f"layer {row['layer']}"] * several["layer"]
    return ", ".join(parts + [str(row["model"])] * several["model"])
