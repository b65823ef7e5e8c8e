"""A text must be found again by its query: ranks against a plain search, and what a wrong query is worth."""

import numpy as np
import pytest
from promptpool.errors import PromptpoolError
from promptpool.pairs import round_trip
from promptpool.pairs.round_trip import round_trip_ranks
from promptpool.pairs.select_pairs import ranks_by
from promptpool.text.bm25 import Bm25
from tiny import tiny_model
from tiny_study import sentences

TEXTS = sentences(3, 20)["text"].tolist()
SPEC = {"among": 20, "within": 3, "seed": 1}
OWN = TEXTS[::3]
QUERIES = [" ".join(text.split()[-4:]) for text in OWN]  # with the text's own number


def ranks(queries=QUERIES, own=OWN, texts=TEXTS, encode=None, **changes) -> list[int]:
    return round_trip_ranks(queries, own, texts, SPEC | changes, "pairs.mine.filters.round_trip", encode).tolist()


def test_a_query_of_its_text_finds_it_and_one_of_another_text_does_not():
    found = ranks()
    assert max(found) <= SPEC["within"] and found.count(1) > 0.8 * len(found)
    swapped = ranks(QUERIES[1:] + QUERIES[:1])
    assert min(swapped) > 1 and sum(rank > SPEC["within"] for rank in swapped) > 0.7 * len(swapped)


def test_among_all_texts_a_rank_is_that_of_a_plain_search():
    likeness = Bm25(TEXTS).likeness(QUERIES)
    plain = [int((row >= row[TEXTS.index(text)] - 1e-9).sum()) for row, text in zip(likeness, OWN, strict=True)]
    assert ranks(among=len(TEXTS)) == plain and len(set(plain)) >= 1
    assert ranks(among=10_000) == plain  # no more than there are


def test_a_query_is_measured_among_so_many_texts_and_no_more():
    """A query without a word of any text finds nothing, so its text comes last."""
    nothing = ["xyzzy"] * len(OWN)
    for among in (5, 20, len(TEXTS)):
        assert set(ranks(nothing, among=among)) == {among}
        assert max(ranks(among=among)) <= among
    few, many = ranks(QUERIES[1:] + QUERIES[:1], among=10), ranks(QUERIES[1:] + QUERIES[:1], among=40)
    assert all(a <= b for a, b in zip(few, many, strict=True)) and few != many


def test_ranks_depend_on_the_seed_and_not_on_order_count_or_pieces(monkeypatch):
    found = ranks(QUERIES[1:] + QUERIES[:1])
    assert ranks(QUERIES[1:] + QUERIES[:1]) == found
    assert ranks((QUERIES[1:] + QUERIES[:1])[:4], OWN[:4]) == found[:4]
    assert ranks(QUERIES[1:] + QUERIES[:1], texts=TEXTS[::-1]) == found
    assert ranks(QUERIES[1:] + QUERIES[:1], seed=2) != found
    monkeypatch.setattr(round_trip, "CELLS_RANKED", 40)  # two queries at a time
    assert ranks(QUERIES[1:] + QUERIES[:1]) == found


def test_a_copy_of_the_text_is_the_text_and_one_that_is_as_good_comes_first():
    shouted = [text.upper() + "!" for text in OWN]
    assert ranks(texts=[*TEXTS, *shouted]) == ranks()
    turned = " ".join(OWN[0].split()[::-1])  # the same words
    assert ranks(QUERIES[:1], OWN[:1], [OWN[0], turned, "another", "one more"], among=4) == [2]


def test_a_model_ranks_by_cosines():
    place = {text: number for number, text in enumerate(TEXTS)}
    asked = {query: number for query, number in zip(QUERIES, map(place.get, OWN), strict=True)}

    def documents(texts):
        return np.eye(len(TEXTS), dtype=np.float32)[[place[text] for text in texts]] * 3

    def queries(texts):
        vectors = np.eye(len(TEXTS), dtype=np.float32)[[asked[text] for text in texts]]
        vectors[0] = -1
        return vectors

    assert ranks(encode=(queries, documents)) == [20] + [1] * (len(OWN) - 1)


def test_a_corpus_so_small_that_every_query_passes_is_refused():
    line = r"pairs\.mine\.filters\.round_trip\.within: the corpus has 3 texts, so each is within the first 3; lower it"
    with pytest.raises(PromptpoolError, match=line):
        ranks(QUERIES[:1], OWN[:1], TEXTS[:3])


def test_a_real_model_reads_queries_in_their_own_prompt(tmp_path, monkeypatch):
    import pandas as pd

    model = tiny_model(tmp_path / "model", texts=TEXTS)
    frame = pd.DataFrame({"id": [str(n) for n in range(len(TEXTS))], "text": TEXTS, "split": "train"})
    frame.to_parquet(tmp_path / "corpus.parquet")
    finder = {"model": str(model), "revision": None, "prompt": "{text}", "query_prompt": None, "pooling": "mean"}
    spec = {"round_trip": SPEC, "column": "text"}
    found = ranks_by(spec, str(tmp_path / "corpus.parquet"), "pairs.mine", finder, "cpu")
    assert set(found(OWN, OWN)) == {1}  # a text is nearest to itself
    other = ranks_by(
        spec, str(tmp_path / "corpus.parquet"), "pairs.mine", {**finder, "query_prompt": "oven {text} mast"}, "cpu"
    )
    assert set(other(OWN, OWN)) != {1}
