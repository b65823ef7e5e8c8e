"""A variant's mean over tasks with its interval, as figures and the report show it."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..statistics.estimates import interval
from ..statistics.samples import VARIANT, samples_by_variant
from .score_table import BASELINE

MEANS = [*VARIANT, "mean", "low", "high", "n", "missing"]


def variant_means(
    scores: pd.DataFrame, facts: Mapping[str, Mapping], tasks: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per variant: VARIANT, `mean`, `low` and `high` (95 %, NaN if a task's spread is unknown), `n` replicates,
    and `missing`: the tasks that it lacks, comma-separated.

    scores: the tidy table; facts: by task; tasks: the tasks to average, None for all in the scores. A variant that
    lacks one has no mean, because means over different tasks can't be compared.
    """
    wanted = sorted(scores["task"].unique()) if tasks is None else sorted(tasks)
    rows = []
    for variant, samples in samples_by_variant(scores[scores["task"].isin(wanted)], facts).items():
        lacking = [task for task in wanted if task not in samples]
        found = None if lacking else interval(samples)
        numbers = (found.estimate, found.low, found.high, found.n) if found else (*[float("nan")] * 3, 0)
        rows.append((*variant, *numbers, ", ".join(lacking)))
    return _best_floors(pd.DataFrame(rows, columns=MEANS))


def _best_floors(means: pd.DataFrame) -> pd.DataFrame:
    """Without the lower ones of a baseline's several dimensions: a floor is shown at its best."""
    floors = means[means["adapter"] == BASELINE].sort_values("mean", ascending=False, kind="stable")
    lower = floors.index[floors["model"].duplicated()]
    return means.drop(index=lower).reset_index(drop=True)
