"""The figure of an ablation over two things: a table of rows and columns, coloured by score."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from ..analysis.ablation_grid import ablation_grid, cell_text
from .palette import INK
from .style import drawing

CELL = (1.15, 0.42)  # inches


def two_axes(table: pd.DataFrame, out: str | Path, measure: str = "V-measure") -> None:
    """Each cell's mean score over tasks, and below it the difference to the baseline with its 95 % interval. The
    baseline has a frame. A cell without a score is hatched.

    table: an ablation's table with `axes`, `row` and `column`.
    """
    grid = ablation_grid(table)
    values = np.array([[100 * cell["score"] if cell else np.nan for cell in cells] for cells in grid.cells])
    scale = Normalize(np.nanmin(values), np.nanmax(values))
    height, width = values.shape
    labels = 0.075 * max(map(len, grid.rows)) + 0.4
    with drawing(out, figsize=(width * CELL[0] + labels, height * CELL[1] + 1.3)) as (figure, axis):
        axis.imshow(values, cmap="viridis", norm=scale, aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            if np.isnan(value):
                axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, hatch="////", facecolor="white", edgecolor="#b0b0b0",
                                         linewidth=0, gid="missing"))  # fmt: skip
                continue
            shade = "white" if scale(value) < 0.5 else INK
            axis.text(x, y, "\n".join(cell_text(grid.cells[y][x])), ha="center", va="center", color=shade, fontsize=6.5)
        y, x = grid.baseline
        axis.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor="white", linewidth=1.2))
        axis.set_xticks(range(width), grid.columns, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(height), grid.rows)
        axis.set_ylabel(grid.axes[0])
        axis.set_xlabel(grid.axes[1])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        title = (
            f"{table['ablation'].iloc[0]}: {measure} × 100\nbelow: difference to the framed baseline [95 % interval]"
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=8)
