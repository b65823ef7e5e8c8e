"""Averages over whole benchmarks, computed as their leaderboards do."""

import time
from collections.abc import Mapping

import pandas as pd

from ..artifacts.files import write_table
from ..statistics.samples import VARIANT
from .score_table import by_task


def average_benchmarks(scores: str, out: str, benchmarks: Mapping[str, Mapping[str, str]]) -> None:
    """Writes every benchmark's averages. Those of an incomplete benchmark are NaN, and a line says so."""
    started = time.time()
    table = benchmark_averages(pd.read_parquet(scores), benchmarks)
    for (benchmark, missing), rows in table[table["missing"] != ""].groupby(["benchmark", "missing"]):
        print(f"{benchmark}: no average for {len(rows)} variants, which lack {missing}")
    write_table(out, table, inputs=[scores], spec={"benchmarks": benchmarks}, started=started)


def benchmark_averages(scores: pd.DataFrame, benchmarks: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The averages of each variant on each benchmark, computed as its leaderboard does.

    benchmarks: name -> task -> its type, for every task of the benchmark, scored or not. Columns: benchmark, VARIANT,
    `tasks` (how many it has), `missing` (the tasks that this variant lacks, comma-separated), `mean_task` (over tasks)
    and `mean_type` (over the means of the types). Both are NaN until every task is scored, because averages over
    different tasks can't be compared.
    """
    table, rows = by_task(scores), []
    for benchmark, types in benchmarks.items():
        for row in table.to_dict("records"):
            own = {task: row.get(task, float("nan")) for task in types}
            missing = [task for task, value in own.items() if pd.isna(value)]
            values = pd.DataFrame({"type": list(types.values()), "value": list(own.values())})
            rows.append({
                "benchmark": benchmark,
                **{key: row[key] for key in VARIANT},
                "tasks": len(types),
                "missing": ", ".join(missing),
                "mean_task": float("nan") if missing else values["value"].mean(),
                "mean_type": float("nan") if missing else values.groupby("type")["value"].mean().mean(),
            })  # fmt: skip
    columns = ["benchmark", *VARIANT, "tasks", "missing", "mean_task", "mean_type"]
    return pd.DataFrame(rows, columns=columns)
