"""The scores as one looks at them: a row a variant, a column a task; and a benchmark's averages."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..variants import layer_name

METRIC = "main_score"
VARIANT = ["model", "adapter", "step", "prompt", "pooling", "layer"]
BASELINE = "baseline"


def by_task(scores: pd.DataFrame) -> pd.DataFrame:
    """The main score of each variant on each task, as MTEB takes it: V-measure for clustering, accuracy or F1 for
    classification, Spearman's correlation for STS...

    scores: the tidy table (docs/reference/tables.md). Returns the variant's six columns, then a column a task, then
    `mean`: the mean over tasks, NaN for a variant that lacks one, because means over different tasks cannot be
    compared.
    """
    shown = scores[scores["metric"] == METRIC]
    # The mean of a subset's own numbers first, then over splits and subsets.
    shown = shown.groupby([*VARIANT, "task", "split", "subset"], as_index=False)["value"].mean()
    wide = shown.pivot_table(index=VARIANT, columns="task", values="value", aggfunc="mean")
    wide.columns.name = None
    wide["mean"] = wide.mean(axis=1, skipna=False)
    return wide.reset_index()


def benchmark_averages(scores: pd.DataFrame, benchmarks: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The averages of each variant on each benchmark, as its leaderboard takes them.

    benchmarks: name -> task -> its type; every task of the benchmark, scored or not. Columns: benchmark, VARIANT,
    `tasks` (how many it has), `missing` (those that this variant lacks, with commas), `mean_task` (over tasks) and
    `mean_type` (over the types' own means). Both are NaN while a task is missing: an average over other tasks is
    another average.
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


def tasks_of(table: pd.DataFrame) -> list[str]:
    """The task columns of `by_task`'s table."""
    return [column for column in table.columns if column not in (*VARIANT, "mean")]


def checkpoint(adapter: str, step: int) -> str:
    """How a checkpoint is named to a reader: `base`, or `name@step`."""
    return "base" if adapter == "base" else f"{adapter}@{step}"


def checkpoint_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table sorted so that base comes first, then adapters by name and step. Stable."""
    first = (table["adapter"] != "base").astype(int)
    return table.assign(_first=first).sort_values(["_first", "adapter", "step"], kind="stable").drop(columns="_first")


def label(variant: Sequence) -> str:
    """What a person calls a variant."""
    model, adapter, step, prompt, pooling, layer = variant
    if adapter == BASELINE:
        return model
    tuned = "untuned" if adapter == "base" else f"{adapter}@{step}"
    return f"{model}, {tuned}, prompt {prompt}, {pooling}" + ("" if layer == -1 else f", layer {layer_name(layer)}")
