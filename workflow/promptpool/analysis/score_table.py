"""The scores as readers want them: a row per variant, a column per task."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..statistics.samples import MAIN, VARIANT
from ..variants import layer_name

BASELINE = "baseline"


def by_task(scores: pd.DataFrame) -> pd.DataFrame:
    """The main score of each variant on each task, as MTEB defines it: V-measure for clustering, accuracy or F1 for
    classification, Spearman's correlation for STS...

    scores: the tidy table (docs/reference/tables.md). Returns the variant's six columns, then a column per task, then
    `mean`: the mean over tasks, NaN for a variant that lacks one, because means over different tasks can't be
    compared.
    """
    shown = scores[scores["metric"] == MAIN]
    # The mean of a subset's own numbers first, then over splits and subsets.
    shown = shown.groupby([*VARIANT, "task", "split", "subset"], as_index=False)["value"].mean()
    wide = shown.pivot_table(index=VARIANT, columns="task", values="value", aggfunc="mean")
    wide.columns.name = None
    wide["mean"] = wide.mean(axis=1, skipna=False)
    return wide.reset_index()


def tasks_of(table: pd.DataFrame) -> list[str]:
    """The task columns of `by_task`'s table."""
    return [column for column in table.columns if column not in (*VARIANT, "mean")]


def checkpoint_name(adapter: str, step: int) -> str:
    """A checkpoint's name for readers: `base`, or `name@step`."""
    return "base" if adapter == "base" else f"{adapter}@{step}"


def checkpoint_order(table: pd.DataFrame) -> pd.DataFrame:
    """The table sorted so that base comes first, then adapters by name and step. Stable."""
    first = (table["adapter"] != "base").astype(int)
    return table.assign(_first=first).sort_values(["_first", "adapter", "step"], kind="stable").drop(columns="_first")


def variant_label(variant: Sequence) -> str:
    """A variant's name for readers."""
    model, adapter, step, prompt, pooling, layer = variant
    if adapter == BASELINE:
        return model if pooling == "none" else f"{model}, {pooling}"
    tuned = "untuned" if adapter == "base" else f"{adapter}@{step}"
    return f"{model}, {tuned}, prompt {prompt}, {pooling}" + ("" if layer == -1 else f", layer {layer_name(layer)}")


def measures(facts: Mapping[str, Mapping]) -> str:
    """What the tasks' main scores measure, in words. facts: by task."""
    names = {fact["main_score"] for fact in facts.values()}
    return "V-measure" if names <= {"v_measure"} else f"main score ({', '.join(sorted(names))})"
