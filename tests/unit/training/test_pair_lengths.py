"""How many of a training's texts are cut, for texts of exactly known lengths."""

import pandas as pd
import pytest
from promptpool.training.pair_lengths import pair_lengths
from tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def texts() -> dict[int, str]:
    """Number of tokens -> a text that has as many."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer("return the shortest path between two nodes of a graph " * 3, add_special_tokens=False)["input_ids"]
    return {count: tokenizer.decode(ids[:count]) for count in (2, 4, 8, 16)}


def test_each_side_is_counted(texts):
    table = pd.DataFrame({
        "text": [texts[2], texts[8]], "positive": [texts[16], texts[16]], "style": "s",
        "negative_1": [texts[8], None], "negative_2": [texts[4], None],
    })  # fmt: skip
    held = pd.DataFrame({"text": [texts[2]], "positive": [texts[8]]})
    found = pair_lengths(tiny_tokenizer(), 4, table, held)
    keys = ("texts", "long", "before", "after")
    assert {name: tuple(facts[key] for key in keys) for name, facts in found.items()} == {
        "anchors": (2, 1, 10, 6), "positives": (2, 2, 32, 8), "hard negatives": (2, 1, 12, 8),
        "held-out pairs": (2, 1, 10, 6),
    }  # fmt: skip
    assert found["positives"]["median_lost"] == found["positives"]["largest_lost"] == 0.75


def test_what_is_not_there_is_not_counted(texts):
    table = pd.DataFrame({"text": [texts[2]], "positive": [texts[4]]})
    assert set(pair_lengths(tiny_tokenizer(), 4, table, table.iloc[:0])) == {"anchors", "positives"}
