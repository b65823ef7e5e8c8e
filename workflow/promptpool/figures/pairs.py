"""The figure of the training pairs: by style, how many were kept, how long and novel they are, why others weren't."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize

from .palette import BLUE, FAINT, GREY, INK, ORANGE, SERIES
from .style import WIDTH, drawing, empty

SIDES = {"text": BLUE, "positive": ORANGE}
HEIGHT = 0.85  # of a row's curve; a row is 1
MOST_BINS = 25
LONGEST_NAME = 22  # characters
LEAST_COLUMNS = 6  # the table of reasons has space for at least so many styles, so that one alone is not blown up
NGRAMS = {"distinct_1": ("n = 1", "o"), "distinct_2": ("2", "s"), "distinct_3": ("3", "^")}


@dataclass(frozen=True)
class Style:
    """One row of the figure: qc.json's numbers for one style of one pair set. A missing part stays empty."""

    name: str
    asked: int | None
    accepted: int | None
    rejected: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, Mapping] = field(default_factory=dict)
    similarity: Mapping[str, int] = field(default_factory=dict)
    distinct: Mapping[str, float] = field(default_factory=dict)


def pairs_qc(qc: Mapping[str, Mapping], out: str | Path) -> None:
    """A row for each style of each pair set: pairs kept, words, similarity, distinct n-grams; then reasons by style.

    qc: set's name -> its qc.json. Histograms map a bin to its number of pairs: `words` by number of words (the last
    bin holds all longer ones), `similarity` by the bin's lower edge, in bins of 0.05.
    """
    rows = styles_of(qc)
    reasons = reasons_of(rows)
    heights = [0.38 * max(len(rows), 1) + 0.75]
    heights += [0.19 * len(reasons) + 0.75] if reasons else []
    with drawing(
        out,
        nrows=len(heights),
        ncols=4,
        figsize=(WIDTH, sum(heights)),
        squeeze=False,
        gridspec_kw={"height_ratios": heights, "width_ratios": [3, 3, 3, 2]},
    ) as (figure, axes):
        if not rows:
            for axis in axes[0]:
                empty(axis, "no pair set" if axis is axes[0, 0] else "")
            return
        draws = (_draw_kept, _draw_words, _draw_similarity, _draw_distinct)
        for axis, draw in zip(axes[0], draws, strict=True):
            draw(axis, rows)
            _row_axis(axis, rows, named=axis is axes[0, 0])
        if reasons:
            place = axes[1, 0].get_gridspec()[1, :]
            for axis in axes[1]:
                axis.remove()
            _draw_reasons(figure.add_subplot(place), rows, reasons)


def styles_of(qc: Mapping[str, Mapping]) -> list[Style]:
    """The figure's rows. A style is named alone if no other set has it. A qc.json without styles is one row."""
    found = []
    for name, content in qc.items():
        for style, part in (content.get("styles") or {name: content}).items():
            distinct = {key: part[key] for key in NGRAMS if part.get(key) is not None}
            found.append((name, style, part, distinct))
    shared = {style for style, count in Counter(style for _, style, _, _ in found).items() if count > 1}
    return [
        Style(
            name=_short(f"{name}: {style}" if style in shared else style),
            asked=part.get("asked"),
            accepted=part.get("accepted"),
            rejected=part.get("rejected") or {},
            words=part.get("words") or {},
            similarity=part.get("similarity") or {},
            distinct=distinct,
        )
        for name, style, part, distinct in found
    ]


def reasons_of(rows: Sequence[Style]) -> list[str]:
    """The reasons of rejection, most frequent first."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update({reason: count for reason, count in row.rejected.items() if count})
    return [reason for reason, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _row_axis(axis, rows: Sequence[Style], named: bool) -> None:
    """Rows from top to bottom, each on its own line."""
    axis.set_ylim(len(rows) - 1 + 0.12, -1)
    axis.set_yticks([place - HEIGHT / 2 for place in range(len(rows))], [row.name for row in rows])
    axis.tick_params(axis="y", length=0, labelleft=named)
    axis.spines[["left"]].set_visible(False)
    if not named:
        axis.hlines(range(len(rows)), *axis.get_xlim(), color=FAINT, linewidth=0.5, zorder=0)


def _title(axis, words: str) -> None:
    """A title above the legend, so that the titles of all panels are on one line."""
    axis.set_title(words, pad=16)


def _legend(axis, **options) -> None:
    axis.legend(
        loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, borderaxespad=0.2, handlelength=1.0, columnspacing=0.8,
        handletextpad=0.3, **options,
    )  # fmt: skip


def _draw_kept(axis, rows: Sequence[Style]) -> None:
    """The share of pairs that are kept, and the counts."""
    for place, row in enumerate(rows):
        if row.accepted is None:
            _absent(axis, place, "no counts")
            continue
        asked = row.asked if row.asked is not None else row.accepted + sum(row.rejected.values())
        share = row.accepted / asked if asked else 0.0
        axis.barh(place - HEIGHT / 2, 100, color=FAINT, height=0.22)
        axis.barh(place - HEIGHT / 2, 100 * share, color=BLUE, height=0.22)
        axis.annotate(
            f"{share:.0%} of {asked:,}", (0, place - HEIGHT / 2), xytext=(0, 5), textcoords="offset points",
            va="bottom", fontsize=7,
        )  # fmt: skip
    axis.set_xlim(0, 102)
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(axis="x", length=0, labelbottom=False)
    _title(axis, "pairs kept")


def _draw_words(axis, rows: Sequence[Style]) -> None:
    longest = max((int(float(words)) for row in rows for side in row.words.values() for words in side), default=1)
    wide = max(1, -(-longest // MOST_BINS))
    for place, row in enumerate(rows):
        shares = {side: _binned(row.words.get(side) or {}, wide, longest) for side in SIDES}
        peak = max((share.max() for share in shares.values() if share is not None), default=0)
        if not peak:
            _absent(axis, place, "lengths not recorded")
            continue
        edges = np.arange(0, longest + wide + 1, wide)
        for side, share in shares.items():
            if share is not None:
                heights = place - HEIGHT * share / peak
                axis.stairs(heights, edges, baseline=place, color=SIDES[side], linewidth=1.1, label=_once(axis, side))
                axis.stairs(heights, edges, baseline=place, color=SIDES[side], fill=True, alpha=0.15, linewidth=0)
    axis.set_xlim(0, longest + wide)
    axis.set_xlabel("words" + (" (last: 100 or more)" if longest >= 100 else ""))
    _title(axis, "length")
    if axis.get_legend_handles_labels()[0]:
        _legend(axis, ncols=2)


def _binned(histogram: Mapping, wide: int, longest: int) -> np.ndarray | None:
    """Shares of a histogram of words in bins of `wide` words; None if it is empty."""
    counts = np.zeros(longest // wide + 1)
    for words, count in histogram.items():
        counts[int(float(words)) // wide] += count
    return counts / counts.sum() if counts.sum() else None


def _draw_similarity(axis, rows: Sequence[Style]) -> None:
    edges = np.arange(21) * 0.05
    for place, row in enumerate(rows):
        counts = np.zeros(20)
        for low, count in row.similarity.items():
            counts[min(19, round(float(low) / 0.05))] += count
        if not counts.sum():
            _absent(axis, place, "not recorded")
            continue
        heights = place - HEIGHT * counts / counts.max()
        axis.stairs(heights, edges, baseline=place, color=BLUE, linewidth=1.1)
        axis.stairs(heights, edges, baseline=place, color=BLUE, fill=True, alpha=0.15, linewidth=0)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_xlabel("0: new, 1: the same")
    _title(axis, "similarity to the text")


def _draw_distinct(axis, rows: Sequence[Style]) -> None:
    for place, row in enumerate(rows):
        if not row.distinct:
            _absent(axis, place, "not recorded")
        for number, (key, (label, marker)) in enumerate(NGRAMS.items()):
            if key in row.distinct:
                axis.plot(
                    row.distinct[key], place - HEIGHT / 2, marker, color=SERIES[number], markersize=4,
                    label=_once(axis, label), linestyle="none",
                )  # fmt: skip
    axis.set_xlim(-0.03, 1.03)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_xlabel("of all n-grams")
    axis.grid(axis="x", color=FAINT, linewidth=0.5)
    _title(axis, "distinct n-grams")
    if axis.get_legend_handles_labels()[0]:
        _legend(axis, ncols=3)


def _once(axis, label: str) -> str | None:
    """The label on the first call, None afterwards, so that a legend names each thing once."""
    return None if label in axis.get_legend_handles_labels()[1] else label


def _absent(axis, place: int, words: str) -> None:
    axis.text(
        0.5, place - HEIGHT / 2, words, color=GREY, fontsize=7, ha="center", va="center",
        transform=axis.get_yaxis_transform(),
    )  # fmt: skip


def _draw_reasons(axis, rows: Sequence[Style], reasons: Sequence[str]) -> None:
    """Reasons down, styles across: counts, shaded by their share of the pairs asked for."""
    counts = np.array([[row.rejected.get(reason, 0) for row in rows] for reason in reasons], float)
    asked = np.array([row.asked or (row.accepted or 0) + sum(row.rejected.values()) for row in rows], float)
    shares = counts / np.maximum(asked, 1)
    axis.imshow(shares, cmap="Oranges", norm=Normalize(0, max(0.05, shares.max() * 1.4)), aspect="auto")
    for (y, x), count in np.ndenumerate(counts):
        words = f"{count:,.0f}" if count else "·"
        axis.text(x, y, words, ha="center", va="center", fontsize=7, color=INK if count else GREY)
    turn = len(rows) > 4 and max(len(row.name) for row in rows) > 9
    axis.set_xticks(
        range(len(rows)), [row.name for row in rows], rotation=25 if turn else 0, ha="right" if turn else "center",
        rotation_mode="anchor",
    )  # fmt: skip
    axis.set_yticks(range(len(reasons)), [_short(reason.replace("_", " ")) for reason in reasons])
    axis.set_xlim(-0.5, max(len(rows), LEAST_COLUMNS) - 0.5)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("pairs left out, by reason")
