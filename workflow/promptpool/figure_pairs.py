"""The figure of the training pairs: how many were kept, why others were not, and how long they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .figure_style import BLUE, GREY, ORANGE, WIDTH, drawing, empty, grid

SIDES = {"text": BLUE, "positive": ORANGE}
SLOTS = 5  # a panel has room for so many bars, or for more; one bar alone is not blown up


def pairs_qc(qc: Mapping[str, Mapping], out: str | Path) -> None:
    """Per pair set: accepted and rejected counts by reason, and the lengths of text and positive.

    qc: set's name -> its qc.json: `accepted` (count), `rejected` (reason -> count), `words` (side -> histogram: a list
    of counts from 0 words up, or a mapping of words to counts). A key that is not there leaves its part empty.
    """
    counts = {name: _counts(content) for name, content in qc.items()}
    heights = [0.16 * max(len(rows), SLOTS) + 0.55 for rows in counts.values()] or [1.5]
    with drawing(
        out,
        nrows=max(1, len(qc)),
        ncols=2,
        figsize=(WIDTH, sum(heights) + 0.3),
        squeeze=False,
        gridspec_kw={"height_ratios": heights, "width_ratios": [3, 2]},
    ) as (_, axes):
        if not qc:
            empty(axes[0, 0], "no pair set")
            empty(axes[0, 1], "")
        for line, (name, content) in enumerate(qc.items()):
            _draw_counts(axes[line, 0], name, counts[name])
            _draw_words(axes[line, 1], content.get("words") or {})


def _counts(content: Mapping) -> list[tuple[str, int]]:
    rejected = content.get("rejected") or {}
    reasons = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    first = [("accepted", int(content["accepted"]))] if content.get("accepted") is not None else []
    return first + [(reason.replace("_", " "), int(count)) for reason, count in reasons]


def _draw_counts(axis, name: str, rows: Sequence[tuple[str, int]]) -> None:
    if not rows:
        return empty(axis, f"{name}: no counts")
    values = [count for _, count in rows]
    colours = [BLUE if label == "accepted" else GREY for label, _ in rows]
    axis.barh(range(len(rows)), values, color=colours, height=0.7)
    for y, value in enumerate(values):
        axis.annotate(f"{value:,}", (value, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    axis.set_yticks(range(len(rows)), [label for label, _ in rows])
    axis.set_ylim(max(len(rows), SLOTS) - 0.4, -0.6)
    axis.set_xlim(0, max(*values, 1) * 1.15)
    axis.set_title(f"{name}: pairs kept, and left out by reason")
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(length=0, labelbottom=False)
    return None


def _draw_words(axis, words: Mapping) -> None:
    drawn = False
    for side, colour in SIDES.items():
        places, counts = _histogram(words.get(side))
        if counts.sum() > 0:
            axis.step(places, counts / counts.sum() * 100, where="mid", color=colour, label=side, linewidth=1.2)
            drawn = True
    if not drawn:
        return empty(axis, "lengths not recorded")
    axis.set_ylabel("% of pairs")
    axis.set_xlabel("words")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0, borderaxespad=0.3)
    grid(axis, "y")
    return None


def _histogram(words: object) -> tuple[np.ndarray, np.ndarray]:
    """Places and counts of a histogram given as a list of counts, or as a mapping of words to counts."""
    if isinstance(words, Mapping):
        pairs = sorted((float(place), float(count)) for place, count in words.items())
    else:
        pairs = list(enumerate(words or []))
    return np.array([place for place, _ in pairs], float), np.array([count for _, count in pairs], float)
