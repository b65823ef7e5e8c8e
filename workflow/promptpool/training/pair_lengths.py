"""How many of a training's texts are cut, and by how much: anchors, positives, hard negatives, held-out pairs."""

import pandas as pd
from transformers import PreTrainedTokenizerBase

from ..embedding.text_lengths import cut_facts
from .hard_negatives import sides

BATCH = 4096  # texts tokenized at once
NAMES = {"text": "anchors", "positive": "positives"}


def pair_lengths(
    tokenizer: PreTrainedTokenizerBase, most: int, table: pd.DataFrame, held: pd.DataFrame
) -> dict[str, dict]:
    """`cut_facts` of `anchors`, `positives`, `hard negatives` and `held-out pairs` (both texts), as far as there are.

    table, held: as training_pairs gives them; most: the adapter's max_text_tokens. The trainer's tokenizer cuts without
    a count, so each different text is tokenized here once more.
    """
    texts: dict[str, list[str]] = {}
    for name in sides(table):
        texts.setdefault(NAMES.get(name, "hard negatives"), []).extend(table[name].dropna())
    if len(held):
        texts["held-out pairs"] = [*held["text"], *held["positive"]]
    unique = list(dict.fromkeys(text for own in texts.values() for text in own))
    lengths: dict[str, int] = {}
    for start in range(0, len(unique), BATCH):
        part = unique[start : start + BATCH]
        ids = tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        lengths.update(zip(part, map(len, ids), strict=True))
    return {name: cut_facts([lengths[text] for text in own], most) for name, own in texts.items()}
