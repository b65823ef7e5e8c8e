"""One style for every figure: colours for colour-blind readers, text readable at column width, reproducible files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..artifacts.files import atomic_path
from .palette import FAINT, GREY, INK, MARKERS, SERIES

WIDTH = 7.0  # inches: a page's text width; a column is half of it

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same letters
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a dollar sign in a text is a dollar sign
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "promptpool",
    "svg.fonttype": "path",
}


@contextmanager
def drawing(out: str | Path, **subplots: object) -> Iterator[tuple[Figure, object]]:
    """`plt.subplots` in the house style. On success it writes `out`.svg and `out`.png, whole or not at all.

    out: a path without suffix; subplots: plt.subplots' arguments. The SVG is byte-identical every time.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(layout="constrained", **subplots)
        try:
            yield figure, axes
            for suffix, facts in ((".svg", {"Date": None, "Creator": None}), (".png", {"Software": None})):
                # The name may contain dots (a model's version), so the suffix is appended and nothing is replaced.
                with atomic_path(f"{out}{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix[1:], metadata=facts)
        finally:
            plt.close(figure)


def empty(axis, words: str) -> None:
    """An axis that says that there is nothing to draw, and why."""
    axis.set_axis_off()
    axis.text(0.5, 0.5, words, ha="center", va="center", color=GREY, transform=axis.transAxes)


def grid(axis, which: str) -> None:
    """Faint lines along one axis, `x` or `y`."""
    axis.grid(axis=which, color=FAINT, linewidth=0.5)
    axis.tick_params(length=0)


def series(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A (colour, marker) for each name, in order; both repeat after six."""
    return {name: (SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def reference_lines(
    axis,
    lines: Sequence[tuple[str, float, tuple[float, float] | None, str]],
    colours: Sequence[str] | None = None,
    size: float = 7,
) -> None:
    """Horizontal lines with their names at the right edge, moved apart if they would overlap.

    lines: (name, height, interval or None, dash); colours: one per line, grey if None. An interval is a faint band.
    Call it last, because the names' places depend on the figure's final layout.
    """
    colours = colours or [GREY] * len(lines)
    if not lines:
        return
    for (_, value, band, dash), colour in zip(lines, colours, strict=True):
        axis.axhline(value, color=colour, linestyle=dash, linewidth=1, zorder=1)
        if band and np.isfinite(band).all():
            axis.axhspan(*band, color=colour, alpha=0.12, linewidth=0, zorder=0)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high)
    axis.figure.draw_without_rendering()
    pixels = axis.get_window_extent().height or 1
    gap = (high - low) / pixels * axis.figure.dpi * size / 72 * 1.45
    order = sorted(range(len(lines)), key=lambda index: lines[index][1])
    for index, place in zip(order, spread([lines[index][1] for index in order], gap, low, high), strict=True):
        name, value, *_ = lines[index]
        axis.annotate(name, (1, value), xycoords=("axes fraction", "data"), xytext=(1.02, place),
                      textcoords=("axes fraction", "data"), va="center", color=colours[index], fontsize=size,
                      annotation_clip=False)  # fmt: skip


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Rising heights, moved as little as possible, so that each is `gap` above the one before, within low..high."""
    # Neighbours that are too close are joined into a block around their mean, and blocks into larger ones.
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _foot(blocks[-1], gap, low, high) - _top(blocks[-2], gap, low, high) < gap - 1e-9:
            last = blocks.pop()
            blocks[-1] += last
    return [_foot(block, gap, low, high) + place * gap for block in blocks for place in range(len(block))]


def _foot(block: Sequence[float], gap: float, low: float, high: float) -> float:
    half = gap * (len(block) - 1) / 2
    return max(low, min(sum(block) / len(block) - half, high - 2 * half))


def _top(block: Sequence[float], gap: float, low: float, high: float) -> float:
    return _foot(block, gap, low, high) + gap * (len(block) - 1)
