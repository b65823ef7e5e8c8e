"""One look for every figure: colours safe for colour-blind readers, type readable at column width, stable files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .artifacts import atomic_path

# Okabe & Ito's palette without its yellow, which is too pale for thin marks on white.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, FAINT = "#1a1a1a", "#6b6b6b", "#d9d9d9"
SERIES = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
SPAN_COLOURS = {
    "sink": GREY,
    "prefix": SKY,
    "content": ORANGE,
    "function": "#F5DCA0",  # the text's too, and less of it
    "suffix": BLUE,
    "itself": PURPLE,
}
WIDTH = 7.0  # inches: a page's text width; half of it is a column

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
    """`plt.subplots` in the house style; on a good end writes `out`.svg and `out`.png, whole or not at all.

    out: a path without suffix; subplots: plt.subplots' arguments. The SVG is the same byte for byte every time.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(layout="constrained", **subplots)
        try:
            yield figure, axes
            for suffix, facts in ((".svg", {"Date": None, "Creator": None}), (".png", {"Software": None})):
                # The name may hold dots (a model's version), so the suffix is added and nothing is replaced.
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
