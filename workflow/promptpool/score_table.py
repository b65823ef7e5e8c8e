"""The scores as one looks at them: a row a variant, a column a task."""

import pandas as pd

METRIC = "v_measure"
VARIANT = ["model", "adapter", "step", "prompt", "pooling", "layer"]
BASELINE = "baseline"


def by_task(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean V-measure of each variant on each task.

    scores: the tidy table (DESIGN 3). Returns the variant's six columns, then a column a task, then `mean`: the mean
    over tasks, NaN for a variant that lacks one, because means over different tasks cannot be compared.
    """
    shown = scores[scores["metric"] == METRIC]
    wide = shown.pivot_table(index=VARIANT, columns="task", values="value", aggfunc="mean")
    wide.columns.name = None
    wide["mean"] = wide.mean(axis=1, skipna=False)
    return wide.reset_index()


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
