"""How many of a training's texts are cut, and by how much: anchors, positives, hard negatives, held-out pairs."""

import pandas as pd
from transformers import PreTrainedTokenizerBase

from ..embedding.text_lengths import cut_facts, token_counts
from .hard_negatives import sides

NAMES_OF_SIDES = {"text": "anchors", "positive": "positives"}


def pair_lengths(
    tokenizer: PreTrainedTokenizerBase, most: int, table: pd.DataFrame, held: pd.DataFrame
) -> dict[str, dict]:
    """`cut_facts` of `anchors`, `positives`, `hard negatives` and `held-out pairs` (both texts), as far as there are.

    table, held: as training_pairs gives them; most: the adapter's max_text_tokens. The trainer's tokenizer cuts without
    a count, so each different text is tokenized here once more.
    """
    texts: dict[str, list[str]] = {}
    for name in sides(table):
        texts.setdefault(NAMES_OF_SIDES.get(name, "hard negatives"), []).extend(table[name].dropna())
    if len(held):
        texts["held-out pairs"] = [*held["text"], *held["positive"]]
    unique = list(dict.fromkeys(text for own in texts.values() for text in own))
    lengths = dict(zip(unique, token_counts(tokenizer, unique, add_special_tokens=False), strict=True))
    return {name: cut_facts([lengths[text] for text in own], most) for name, own in texts.items()}
