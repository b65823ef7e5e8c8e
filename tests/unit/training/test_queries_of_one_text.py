"""Several queries of one text in a batch: the text is no negative of any of them, and each text keeps one identity."""

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.pairs.choose_negatives import choose_negatives
from promptpool.training.false_negatives import false_negatives
from promptpool.training.hard_negatives import ids
from promptpool.training.losses import info_nce
from promptpool.training.shuffled_positives import shuffled_positives

PAIRS = pd.DataFrame(
    [
        ("what is kneaded before it is baked", "dough rests before it goes into the oven"),
        ("how long does dough rest", "dough rests before it goes into the oven"),
        ("where does a ship lie in a storm", "the harbour keeps ships safe when the wind is strong"),
        ("which string is the lowest", "the lowest string of a violin sounds a g"),
        ("safe place for ships", "the harbour keeps ships safe when the wind is strong"),
    ],
    columns=["text", "positive"],
)
SAME = [[0, 1], [2, 4]]  # rows of one text


def test_a_document_that_a_query_looks_for_is_masked_where_it_stands_again():
    hidden = false_negatives(torch.tensor(ids(PAIRS)), torch.arange(5))
    assert hidden.nonzero().tolist() == sorted([list(pair) for pair in SAME] + [pair[::-1] for pair in SAME])
    back = false_negatives(torch.tensor(ids(PAIRS)).flip(1), torch.arange(5))  # from a document to its queries
    assert back.equal(hidden)


@pytest.mark.parametrize("masked", [True, False])
def test_two_queries_of_a_text_that_both_find_it_cost_nothing_only_if_it_is_masked(masked):
    """Vectors of documents that are their queries': with a mask the loss of each is nearly none."""
    documents = torch.eye(3)[[0, 0, 1, 2, 1]].double()
    hidden = false_negatives(torch.tensor(ids(PAIRS)), torch.arange(5)) if masked else None
    losses, correct = info_nce(documents, documents, torch.arange(5), hidden, 0.05, 0.0)
    shared = losses[[0, 1, 2, 4]]
    assert (shared < 1e-6).all() if masked else torch.allclose(shared, torch.log(torch.tensor(2.0).double()), atol=1e-6)
    assert losses[3] < 1e-6 and correct[3]


def test_mined_negatives_of_a_query_are_documents_of_other_texts(tmp_path):
    table = PAIRS.assign(style="search-question", source_id=[f"s{n}" for n in (0, 0, 1, 2, 1)])
    table.to_parquet(tmp_path / "pairs.parquet")
    spec = {
        "from": "mined", "count": 2, "ranks": [1, 100], "margin": None, "relative_margin": None,
        "max_similarity": None, "model": None, "near_duplicate": None,
        "contamination": {"near": None, "action": "remove"},
    }  # fmt: skip
    out = [str(tmp_path / "negatives.parquet"), str(tmp_path / "qc.json")]
    choose_negatives(*out, pairs=[str(tmp_path / "pairs.parquet")], corpora=[], tasks={}, name="tuned", spec=spec)
    found = pd.read_parquet(out[0])
    assert len(found) and not (found["negative"] == found["positive"]).any()
    assert set(found["negative"]) <= set(PAIRS["positive"])


def test_the_control_moves_every_query_to_another_text():
    moved = shuffled_positives(PAIRS.assign(set=0), seed=3)
    assert not (moved["positive"].to_numpy() == PAIRS["positive"].to_numpy()).any()
    assert sorted(moved["positive"]) == sorted(PAIRS["positive"]) and np.array_equal(moved["text"], PAIRS["text"])
