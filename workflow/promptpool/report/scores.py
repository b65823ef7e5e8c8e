"""The report's sections on scores: the headline, every variant, ablations with ranks, benchmarks' averages."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..analysis.ablation_grid import ablation_grid, cell_text
from ..analysis.score_table import BASELINE, VARIANT, checkpoint_name
from ..variants import layer_name

MOST_ROWS = 3000  # a browser still sorts such a table at once, and the page stays under 8 MB
MOST_OF_A_BENCHMARK = 50


def headline_rows(summary: pd.DataFrame) -> list[dict]:
    """The summary's rows unchanged. A summary without tasks holds only means."""
    if "task" not in summary:
        summary = summary.assign(task="mean")
    return summary.to_dict("records")


def score_rows(table: pd.DataFrame) -> list[dict]:
    """The variants, best first, incomplete ones last; at most MOST_ROWS."""
    ordered = table.sort_values(["mean", *VARIANT], ascending=[False] + [True] * len(VARIANT), na_position="last")
    return [_named(row) for row in ordered.head(MOST_ROWS).to_dict("records")]


def _named(row: dict) -> dict:
    tuned = BASELINE if row["adapter"] == BASELINE else checkpoint_name(row["adapter"], row["step"])
    return {**row, "checkpoint": tuned, "layer": layer_name(row["layer"])}


def ablation_section(name: str, table: pd.DataFrame, question: str, pictures: Sequence[Mapping]) -> dict:
    """An ablation's mean rows, whether they are ranked, how many tasks they average, and its own pictures. Of two axes
    also `grid`: its head, and a row for each value with (score, difference) on each of the other axis.
    """
    grid = ablation_grid(table)
    rows = table[table["task"] == "mean"].to_dict("records")
    return {
        "name": name,
        "question": question,
        "rows": rows,
        "tasks": table.loc[table["task"] != "mean", "task"].nunique(),
        "ranked": "rank" in table and bool(rows),
        "grid": grid
        and {
            "head": [" \\ ".join(grid.axes), *grid.columns],
            "rows": [(row, list(map(cell_text, cells))) for row, cells in zip(grid.rows, grid.cells, strict=True)],
        },
        "pictures": _pictures("ablations", name, pictures),
    }


def benchmark_sections(
    table: pd.DataFrame,
    names: Mapping[str, str],
    published: Mapping[str, Sequence[Mapping]],
    pictures: Sequence[Mapping],
) -> list[dict]:
    """Each benchmark with its best variants' averages, how many lack a task and which, and what others published.

    table: benchmarks.parquet; names: benchmark -> MTEB's name; published: benchmark -> reference lines.
    """
    sections = []
    for name, rows in table.groupby("benchmark", sort=True):
        whole = rows[rows["missing"] == ""].sort_values("mean_task", ascending=False, kind="stable")
        partial = rows[rows["missing"] != ""]
        sections.append(
            {
                "name": name,
                "title": names.get(name, name),
                "tasks": int(rows["tasks"].iloc[0]),
                "by_type": bool((rows["mean_task"] - rows["mean_type"]).abs().max() > 1e-9),
                "rows": [_named(row) for row in whole.head(MOST_OF_A_BENCHMARK).to_dict("records")],
                "left_out": max(0, len(whole) - MOST_OF_A_BENCHMARK),
                "lacking": len(partial),
                "missing": sorted({task for tasks in partial["missing"] for task in tasks.split(", ")}),
                "published": list(published.get(name, ())),
                "pictures": _pictures("benchmarks", name, pictures),
            }
        )
    return sections


def _pictures(section: str, name: str, pictures: Sequence[Mapping]) -> list[Mapping]:
    """The figures of one ablation, or of one benchmark."""
    return [one for one in pictures if one["section"] == section and one["of"] == name]
