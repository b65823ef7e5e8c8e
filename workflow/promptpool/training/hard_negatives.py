"""A training's texts by side: anchor, positive, and the hard negatives that were chosen for a pair."""

from collections.abc import Collection
from itertools import islice

import numpy as np
import pandas as pd

from .false_negatives import ABSENT

NEGATIVE = "negative_"  # the columns are negative_1, negative_2, ...
STAND_IN = "."  # is embedded where a pair has fewer negatives than others, and masked in the loss


def with_negatives(table: pd.DataFrame, chosen: pd.DataFrame, count: int, banned: Collection[str]) -> pd.DataFrame:
    """The pairs with the columns negative_1 to negative_{count}; None where a pair has fewer.

    table: text, positive; chosen: text, positive, negative, of each pair in the order of choice (`choose_negatives`).
    banned: texts that training must not see, those of held-out pairs.
    """
    kept = chosen[~chosen["negative"].isin(list(banned))]
    own = {pair: list(islice(rows, count)) for pair, rows in kept.groupby(["text", "positive"], sort=False)["negative"]}
    found = [own.get(pair, []) for pair in zip(table["text"], table["positive"], strict=True)]
    columns = {
        f"{NEGATIVE}{place + 1}": [rows[place] if place < len(rows) else None for rows in found]
        for place in range(count)
    }
    return table.assign(**{name: pd.Series(texts, table.index, dtype=object) for name, texts in columns.items()})


def sides(table: pd.DataFrame) -> list[str]:
    """The columns that hold a pair's texts."""
    return ["text", "positive", *(name for name in table if str(name).startswith(NEGATIVE))]


def filled(texts: pd.DataFrame) -> pd.DataFrame:
    """The same with a text in every place, so that each can go through the model."""
    return texts.fillna(STAND_IN)


def ids(texts: pd.DataFrame) -> np.ndarray:
    """Identities of the texts of each pair, int [n, sides]: equal numbers are equal texts; where none is, ABSENT."""
    columns = sides(texts)
    numbers, _ = pd.factorize(pd.concat([texts[name] for name in columns], ignore_index=True))
    assert ABSENT == -1  # as pandas marks what is missing
    return numbers.reshape(len(columns), -1).T
