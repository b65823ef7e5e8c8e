"""Single trainings of an adapter in a table of scores: their names become a column `seed`."""

from collections.abc import Mapping

import pandas as pd

from ..statistics.samples import SEED_COLUMN
from ..variants import split_seed


def with_seeds(scores: pd.DataFrame, first: Mapping[str, int]) -> pd.DataFrame:
    """The scores with a column `seed` after `step`, and `name~seed` in `adapter` as the adapter's own name.

    first: adapter -> the seed of the training that has its name. Of `base` and baselines `seed` is missing.
    """
    names = {name: split_seed(name) for name in scores["adapter"].unique()}
    seeds = {name: first.get(name) if seed is None else seed for name, (_, seed) in names.items()}
    seed = scores["adapter"].map(seeds).astype("Int64")
    table = scores.assign(adapter=scores["adapter"].map({name: adapter for name, (adapter, _) in names.items()}))
    table.insert(table.columns.get_loc("step") + 1, SEED_COLUMN, seed)
    return table


def first_seed_only(scores: pd.DataFrame, first: Mapping[str, int]) -> pd.DataFrame:
    """The rows of each adapter's first seed, which is the one that is exported, and all that has none."""
    if SEED_COLUMN not in scores:
        return scores
    wanted = scores["adapter"].map(first)
    return scores[scores[SEED_COLUMN].isna() | wanted.isna() | (scores[SEED_COLUMN] == wanted)]
