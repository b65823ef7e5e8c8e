"""An ablation over two axes as a table of rows and columns, each cell a score and its difference to the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

AXES = ["axes", "row", "column"]  # columns that only the table of two axes has


@dataclass(frozen=True)
class AblationGrid:
    """axes: names of rows and columns. rows, columns: their values, the baseline's first. cells: [rows][columns], the
    mean row of the ablation's table (score, estimate, low, high...), None where nothing was scored. baseline: where it
    is, (row, column).
    """

    axes: tuple[str, str]
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Mapping | None]]
    baseline: tuple[int, int]


def ablation_grid(table: pd.DataFrame) -> AblationGrid | None:
    """The means over tasks as a grid; None for an ablation of one axis."""
    if "row" not in table or table.empty:
        return None
    means = table[table["task"] == "mean"]
    rows, columns = (list(dict.fromkeys(means[name])) for name in ("row", "column"))
    known = {(one["row"], one["column"]): one for one in means.to_dict("records")}
    cells = [[known.get((row, column)) for column in columns] for row in rows]
    (base,) = [place for place, one in known.items() if one["value"] == one["baseline"]]
    axes = tuple(means["axes"].iloc[0].split(", "))
    return AblationGrid(axes, rows, columns, cells, (rows.index(base[0]), columns.index(base[1])))


def cell_text(cell: Mapping | None) -> tuple[str, str]:
    """(the score times 100, its difference to the baseline with the interval); empty where there is none."""
    if cell is None:
        return "", ""
    score = f"{100 * cell['score']:.1f}"
    if cell["value"] == cell["baseline"]:
        return score, "baseline"
    known = f" [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]" if cell["low"] == cell["low"] else ""
    return score, f"{100 * cell['estimate']:+.1f}{known}"


def as_markdown(table: pd.DataFrame) -> list[str]:
    """The grid as lines of a Markdown table, with the ablation's name above."""
    grid = ablation_grid(table)
    name, baseline = table["ablation"].iloc[0], table["baseline"].iloc[0]
    lines = [f"{name}: score and difference to {baseline} [95 % interval], mean over tasks", ""]
    lines.append(f"| {grid.axes[0]} \\ {grid.axes[1]} | " + " | ".join(grid.columns) + " |")
    lines.append("| --- " * (1 + len(grid.columns)) + "|")
    for row, cells in zip(grid.rows, grid.cells, strict=True):
        texts = [" ".join(filter(None, cell_text(cell))) or "-" for cell in cells]
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return lines
