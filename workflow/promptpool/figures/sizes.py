"""What vectors cost to keep: the score by the bytes of one vector."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.score_means import variant_means
from ..analysis.score_table import BASELINE
from ..embedding.short_vectors import bytes_a_text
from ..errors import PromptpoolError
from ..variants import POOLING_KEYS, split_pooling, split_readout
from .layers import shown_states
from .palette import FLOOR_LINES
from .style import WIDTH, drawing, grid, reference_lines, series

DOUBLE = "concat"  # the pooling that gives two hidden states


def size_scores(
    scores: pd.DataFrame,
    facts: Mapping[str, Mapping],
    costs: pd.DataFrame,
    out: str | Path,
    measure: str = "V-measure",
) -> None:
    """Mean score against the bytes of one text's vector, on a logarithmic axis: a dot per variant, a line per
    checkpoint through its best variant of each size, with 95 % intervals.

    costs: gives each model's `hidden`. Aggregations are left out, because their widths are not in it. Baselines are
    lines. Raises PromptpoolError if no variant is left.
    """
    means, hidden = variant_means(scores, facts), dict(zip(costs["model"], costs["hidden"], strict=True))
    named = means["pooling"].map(lambda name: split_readout(name)[0] in POOLING_KEYS)
    variants = means[(means["adapter"] != BASELINE) & named & means["model"].isin(list(hidden))].dropna(subset=["mean"])
    if variants.empty:
        raise PromptpoolError("size_scores: no variant has a score on every task; score the grid")
    sizes = [vector_bytes(hidden[row.model], row.pooling) for row in variants.itertuples()]
    variants = variants.assign(bytes=sizes)
    states = shown_states(variants)
    with drawing(out, figsize=(WIDTH * 0.75, 3.2)) as (figure, axis):
        looks = series([title for title, _ in states])
        for title, rows in states:
            colour, marker = looks[title]
            axis.plot(rows["bytes"], rows["mean"] * 100, marker, color=colour, markersize=3, alpha=0.35,
                      linestyle="none", markeredgewidth=0)  # fmt: skip
            best = best_of_each_size(rows)
            mean, low, high = (best[key].to_numpy(dtype=float) * 100 for key in ("mean", "low", "high"))
            spread = np.nan_to_num(np.abs([mean - low, high - mean]))
            axis.errorbar(best["bytes"], mean, spread, color=colour, marker=marker, markersize=5, elinewidth=0.9,
                          linewidth=1, label=title)  # fmt: skip
        floors = means[(means["adapter"] == BASELINE) & means["mean"].notna()]
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("bytes of one text's vector")
        axis.set_ylabel(f"{measure} × 100")
        grid(axis, "y")
        tasks = scores["task"].nunique()
        figure.suptitle(f"Mean over {tasks} task{'s' * (tasks != 1)}; bars: 95 % intervals", x=0.01, ha="left",
                        fontsize=8)  # fmt: skip
        figure.legend(loc="outside lower left", ncols=3)
        reference_lines(axis, [
            (row.model, row.mean * 100, (row.low * 100, row.high * 100), FLOOR_LINES.get(row.model, "-."))
            for row in floors.itertuples()
        ])  # fmt: skip


def vector_bytes(hidden: int, readout: str) -> int:
    """Bytes of one vector of a readout, such as `last+cut(64)`. hidden: the size of a hidden state."""
    pooling, form = split_readout(readout)
    return bytes_a_text(hidden * (2 if split_pooling(pooling)[0] == DOUBLE else 1), form)


def best_of_each_size(rows: pd.DataFrame) -> pd.DataFrame:
    """The variant with the highest mean of each number of bytes, the smallest first."""
    return rows.sort_values(["bytes", "mean"], ascending=[True, False], kind="stable").drop_duplicates("bytes")
