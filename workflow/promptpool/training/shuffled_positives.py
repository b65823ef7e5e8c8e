"""A control: every text is trained towards another text's positive, so that only the pairing is lost.

What such an adapter changes too, such as where the last token looks, comes from texts, prompt and loss, not from pairs.
"""

import random

import pandas as pd

from ..errors import PromptpoolError

SHUFFLED = "shuffled"
ROUNDS = 200  # of putting right what a draw left in place; sets of more than a few pairs need one or two


def shuffled_positives(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The pairs with the positives of each set moved to other texts: the same texts, and the same positives.

    table: text, positive and set. No text keeps a positive that it has in any of the pairs. Raises PromptpoolError for
    a set where that cannot be.
    """
    parts = [_shuffled(own, random.Random(f"{seed}:{number}")) for number, own in table.groupby("set", sort=False)]
    return pd.concat(parts).loc[table.index]


def _shuffled(table: pd.DataFrame, draw: random.Random) -> pd.DataFrame:
    texts, positives = table["text"].tolist(), table["positive"].tolist()
    own = set(zip(texts, positives, strict=True))
    places = list(range(len(texts)))
    draw.shuffle(places)
    for _ in range(ROUNDS):
        kept = [row for row, place in enumerate(places) if (texts[row], positives[place]) in own]
        if not kept:
            return table.assign(positive=[positives[place] for place in places])
        for row in kept:  # with any other row, which may then be one of the kept: the next round sees it
            other = draw.randrange(len(places))
            places[row], places[other] = places[other], places[row]
    raise PromptpoolError(
        f"positives: shuffled leaves a text with its own positive, as {len(table)} pairs of a set are too few or too "
        "alike; make more pairs"
    )
