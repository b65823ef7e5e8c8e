"""Recall and nDCG of pairs against other implementations, TF-IDF and BM25 against their formulas."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from promptpool.scoring.pair_retrieval import (
    RETRIEVAL_MEASURES,
    by_words,
    cosine_likeness,
    distinct_pairs,
    found_partners,
    own_copies,
    tfidf_likeness,
)
from promptpool.text.bm25 import Bm25
from sklearn.metrics import ndcg_score
from tiny_study import sentences

TOY = (
    ["bread and butter", "a sail on the mast", "the melody of a violin"],
    ["butter on fresh bread", "the mast, and a sail: sail!", "a violin plays"],
)


@pytest.fixture
def likeness() -> np.ndarray:
    """Half signal, half noise: partners at many ranks, none tied."""
    rng = np.random.default_rng(3)
    return rng.standard_normal((60, 60)) + 2 * np.eye(60)


def test_measures_are_those_of_trec_eval(likeness):
    run = {f"q{i}": {f"d{j}": float(value) for j, value in enumerate(row)} for i, row in enumerate(likeness)}
    relevant = {f"q{i}": {f"d{i}": 1} for i in range(60)}
    judged = pytrec_eval.RelevanceEvaluator(relevant, {"recall.1,10", "ndcg_cut.10"}).evaluate(run)
    ours = found_partners(likeness)
    for name, theirs in zip(RETRIEVAL_MEASURES, ("recall_1", "recall_10", "ndcg_cut_10"), strict=True):
        np.testing.assert_allclose(ours[name], [judged[f"q{i}"][theirs] for i in range(60)], atol=1e-9)
    assert 0.2 < ours["recall@1"].mean() < ours["ndcg@10"].mean() < ours["recall@10"].mean() < 1


def test_ties_count_as_in_scikit_learn():
    """Its nDCG averages over the orders of tied documents too."""
    rng = np.random.default_rng(4)
    likeness = rng.integers(0, 4, (40, 40)).astype(float)
    theirs = [ndcg_score(np.eye(40)[[i]], likeness[[i]], k=10) for i in range(40)]
    np.testing.assert_allclose(found_partners(likeness)["ndcg@10"], theirs, atol=1e-9)


def test_a_search_that_finds_nothing_gets_chance():
    ours = found_partners(np.zeros((40, 40)))
    assert ours["recall@1"] == pytest.approx(1 / 40) and ours["recall@10"] == pytest.approx(10 / 40)
    few = found_partners(np.zeros((4, 4)))  # fewer documents than ranks that count
    assert few["recall@1"] == pytest.approx(1 / 4) and few["recall@10"] == pytest.approx(1)


def bm25(query: list[str], document: list[str], documents: list[list[str]]) -> float:
    """Word by word, as it is written in the paper."""
    counts, length = Counter(document), sum(map(len, documents)) / len(documents)
    total = 0.0
    for word in query:
        having = sum(word in one for one in documents)
        rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
        total += rarity * counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * len(document) / length))
    return total


def test_bm25_is_its_formula():
    texts, documents = ([text.replace(",", "").replace(":", "").replace("!", "").split() for text in side]
                        for side in TOY)  # fmt: skip
    expected = [[bm25(text, document, documents) for document in documents] for text in texts]
    np.testing.assert_allclose(Bm25(TOY[1]).likeness(TOY[0]), expected, rtol=1e-9)
    assert np.array(expected).max() > 1


def test_tfidf_is_its_formula():
    """1 + ln(tf), times ln((1 + n) / (1 + df)) + 1, rows of length 1."""
    split = [[text.replace(",", "").replace(":", "").replace("!", "").split() for text in side] for side in TOY]
    known = sorted({word for text in split[1] for word in text})
    rarity = {word: math.log(4 / (1 + sum(word in one for one in split[1]))) + 1 for word in known}
    rows = []
    for side in split:
        table = np.array([[(1 + math.log(text.count(w))) * rarity[w] if w in text else 0 for w in known]
                          for text in side])  # fmt: skip
        rows.append(table / np.linalg.norm(table, axis=1, keepdims=True))
    np.testing.assert_allclose(tfidf_likeness(*TOY), rows[0] @ rows[1].T, atol=1e-9)


def test_words_find_what_shares_words():
    table = sentences(5, 20)
    pairs = pd.DataFrame({"text": table["text"], "positive": "about " + table["text"].str[4:]})
    for likeness in by_words(distinct_pairs(pairs)).values():
        assert found_partners(likeness)["recall@1"].mean() > 0.9
    for likeness in by_words(pairs.assign(positive="!?")).values():  # no word at all
        assert found_partners(likeness)["recall@1"].mean() == pytest.approx(1 / len(pairs))


def test_pairs_that_cannot_be_looked_for_are_left_out():
    rows = [("a b", "c d"), ("A  b!", "e f"), ("g h", "C, d"), ("i j", "I j"), ("k l", "m n"), ("o p", "?")]
    kept = distinct_pairs(pd.DataFrame(rows, columns=["text", "positive"]))
    assert kept["text"].tolist() == ["a b", "k l"]


def test_a_copy_of_the_text_is_no_wrong_answer():
    """Of A -> B and B -> C, the document B is what a search for B finds first, and rightly."""
    pairs = pd.DataFrame({"text": ["a b", "c d", "e f"], "positive": ["c d", "x y", "z z"]})
    likeness = np.array([[0.9, 0.1, 0.1], [1.0, 0.8, 0.1], [0.2, 0.1, 0.9]])
    assert found_partners(likeness)["recall@1"].tolist() == [1, 0, 1]
    assert found_partners(likeness, own_copies(pairs))["recall@1"].tolist() == [1, 1, 1]


def test_cosines_do_not_depend_on_lengths():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 9, 5))
    np.testing.assert_allclose(cosine_likeness(one * 3, other * 7), cosine_likeness(one, other), atol=1e-12)
    assert cosine_likeness(one, one).diagonal() == pytest.approx(1)
