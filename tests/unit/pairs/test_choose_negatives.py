"""Hard negatives: given ones and mined ones, their bounds, and what is dropped."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from promptpool.artifacts.files import file_digest, write_sidecar
from promptpool.errors import PromptpoolError
from promptpool.pairs.check_training_data import check_training_data
from promptpool.pairs.choose_negatives import NEGATIVES, choose_negatives
from promptpool.pairs.mining import mine, partners
from promptpool.pairs.negatives_qc import histogram
from sentence_transformers.util import cos_sim, mine_hard_negatives, pairwise_cos_sim

SPEC = {
    "from": "mined", "count": 2, "ranks": [1, 100], "margin": None, "relative_margin": None, "max_similarity": None,
    "model": None, "near_duplicate": 0.9, "contamination": {"near": 0.8, "action": "remove"},
}  # fmt: skip
TASK_TEXT = "the harbour master counts every ship that comes in before the evening tide"
PAIRS = [
    ("sort a list of numbers", "order the numbers of a list from small to large"),
    ("sort a list of words", "order the words of a list by their letters"),
    ("bake a loaf of bread", "put the loaf into a hot oven and bake it"),
    ("bake a cake", "put the cake into a hot oven for an hour"),
    ("sail a boat", "hoist the sail of the boat and steer"),
]


def files(folder: Path, pairs=PAIRS, tasks=(TASK_TEXT,), **columns) -> tuple[list[str], dict[str, str]]:
    table = pd.DataFrame(pairs, columns=["text", "positive"])
    table = table.assign(style="simple", source_id=[f"s{n}" for n in range(len(table))], **columns)
    table.to_parquet(folder / "pairs.parquet")
    pd.DataFrame({"text": tasks}).to_parquet(folder / "texts.parquet")
    return [str(folder / "pairs.parquet")], {"ships": str(folder / "texts.parquet")}


def choose(folder: Path, pairs=PAIRS, *, corpora=(), encode=None, tasks=(TASK_TEXT,), columns=None, **changes):
    sets, known = files(folder, pairs, tasks, **(columns or {}))
    choose_negatives(
        str(folder / "negatives.parquet"), str(folder / "qc.json"), pairs=sets, corpora=list(corpora), tasks=known,
        name="mine", spec={**SPEC, **changes}, encode=encode,
    )  # fmt: skip
    return pd.read_parquet(folder / "negatives.parquet"), json.loads((folder / "qc.json").read_text())


def corpus(folder: Path, negatives: list[list[str | None]]) -> str:
    table = pd.DataFrame({"id": [f"s{n}" for n in range(len(negatives))], "text": "x", "split": "train"})
    for place in range(len(negatives[0])):
        table[f"negative_{place + 1}"] = [row[place] for row in negatives]
    table.to_parquet(folder / "corpus.parquet")
    return str(folder / "corpus.parquet")


# --- mining ------------------------------------------------------------------------------------------


def test_the_most_similar_positive_of_another_text_is_taken(tmp_path):
    table, qc = choose(tmp_path, count=1)
    assert list(table.columns) == NEGATIVES
    first = dict(zip(table["text"], table["negative"], strict=True))
    assert first["sort a list of numbers"] == PAIRS[1][1] and first["bake a cake"] == PAIRS[2][1]
    assert (table["similarity"] > 0).all() and (table["place"] == 1).all()
    assert qc["pairs"] == 5 and qc["chosen"] == len(table) and sum(qc["pairs_with"].values()) == 5
    assert sum(qc["similarity"]["negative"].values()) == len(table)
    assert qc["samples"][0]["negative"] in table["negative"].tolist()
    record = json.loads((tmp_path / "negatives.parquet.meta.json").read_text())
    assert record["spec"]["ranks"] == [1, 100] and record["rows"] == len(table)


def numbers(seed: int, rows: int, dim: int = 8) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


class Known:
    """A model whose vectors are known, for sentence-transformers' own miner."""

    def __init__(self, vectors: dict[str, np.ndarray]):
        self.vectors = vectors

    def encode_query(self, texts, **_):
        return np.stack([self.vectors[text] for text in texts])

    encode_document = encode_query
    similarity, similarity_pairwise, device = staticmethod(cos_sim), staticmethod(pairwise_cos_sim), "cpu"


@pytest.mark.parametrize(
    ("bounds", "theirs"),
    [
        ({}, {}),
        ({"ranks": [3, 10]}, {"range_min": 2, "range_max": 10}),
        ({"margin": 0.3}, {"absolute_margin": 0.3}),
        ({"relative_margin": 0.4}, {"relative_margin": 0.4}),
        ({"max_similarity": 0.5}, {"max_score": 0.5}),
        ({"margin": 0.2, "max_similarity": 0.5}, {"absolute_margin": 0.2, "max_score": 0.5}),
    ],
    ids=str,
)  # fmt: skip
def test_mined_negatives_are_those_of_sentence_transformers(bounds, theirs):
    """Without a margin also by ranks; with one, theirs count the ranks of what the margin leaves."""
    count = 60
    queries, documents = numbers(0, count), numbers(1, count) + numbers(0, count)  # the own positive is near
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    texts, positives = ([f"{side}{n}" for n in range(count)] for side in "qd")
    known = dict(zip(texts, queries, strict=True)) | dict(zip(positives, documents, strict=True))
    pairs = Dataset.from_dict({"text": texts, "positive": positives})
    rest = {"range_max": count - 1, "min_score": 1e-9, "num_negatives": 3, "verbose": False} | theirs
    wanted = mine_hard_negatives(pairs, Known(known), **rest)
    own = np.arange(count)
    mined = mine(queries, documents, own, (own, own), {**SPEC, "count": 3, **bounds})
    found = {(texts[row], positives[place]) for row, place in zip(mined.rows, mined.documents, strict=True)}
    assert found == set(zip(wanted["text"], wanted["negative"], strict=True)) and len(found) > count / 2


def test_blocks_of_rows_change_nothing(monkeypatch):
    queries, documents, own = numbers(0, 50), numbers(1, 40), np.arange(50) % 40
    similarity = np.zeros(50, np.float32)
    whole = mine(queries, documents, own, (own[:0], own[:0]), {**SPEC, "ranks": [1, 7]}, similarity)
    monkeypatch.setattr("promptpool.pairs.mining.CELLS", 120)
    parts = mine(queries, documents, own, (own[:0], own[:0]), {**SPEC, "ranks": [1, 7]})
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(similarity, np.einsum("nd,nd->n", queries, documents[own]), rtol=1e-5)
    assert whole.ranks.max() <= 7


def test_no_partner_of_a_text_is_its_negative():
    """Its own positive, another positive of it, itself, and what was written from its source."""
    texts, positives, sources = ["a", "a", "b", "c"], ["one", "two", "A", "three"], ["s0", "s0", "s1", "s1"]
    rows, found = partners(texts, positives, sources, {"one": 0, "two": 1, "a": 2, "three": 3})
    by_row = {row: set(found[rows == row].tolist()) for row in range(4)}
    assert by_row == {0: {0, 1, 2}, 1: {0, 1, 2}, 2: {2, 3}, 3: {2, 3}}


def test_a_model_may_say_what_is_similar(tmp_path):
    """Vectors by which bread is next to boats."""
    axes = {"sort": [1, 0, 0.1], "order": [1, 0, 0.1], "bake": [0, 1, 0], "put": [0, 1, 0.1], "sail": [0.1, 0.9, 0.5]}

    def encode(texts):
        return np.array([axes.get(text.split()[0], [0, 0.9, 0.6]) for text in texts])

    table, qc = choose(tmp_path, count=1, encode=encode, model={"model": "m"})
    first = dict(zip(table["text"], table["negative"], strict=True))
    assert first["sail a boat"] in (PAIRS[2][1], PAIRS[3][1])
    assert qc["chosen"] == 5


# --- given -------------------------------------------------------------------------------------------


def test_given_negatives_follow_the_file(tmp_path):
    given = corpus(tmp_path, [["one word", "two words"], [None, "only this"], [None, None], ["x", "y"], ["z", None]])
    table, qc = choose(tmp_path, corpora=[given], **{"from": "given"})
    assert table[["text", "negative", "place"]].to_numpy().tolist() == [
        ["sort a list of numbers", "one word", 1], ["sort a list of numbers", "two words", 2],
        ["sort a list of words", "only this", 1], ["bake a cake", "x", 1], ["bake a cake", "y", 2],
        ["sail a boat", "z", 1],
    ]  # fmt: skip
    assert (table["rank"] == 0).all() and qc["pairs_with"] == {"0": 1, "1": 2, "2": 2}


def test_a_given_negative_that_is_none_is_dropped_by_name(tmp_path):
    long = "the captain steers the old boat into the harbour before the storm comes"
    rows = [
        ["ORDER the numbers of a list, from small to large", "sort a list of numbers!", "fine"],
        ["again", "Again.", "other"],
        [long, long.replace("captain", "mate"), "short"],
        [TASK_TEXT.upper(), "clean", "too"],
        [None, None, None],
    ]
    table, qc = choose(tmp_path, corpora=[corpus(tmp_path, rows)], near_duplicate=0.6, **{"from": "given"})
    assert table["negative"].tolist() == ["fine", "again", "other", long, "short", "clean", "too"]
    assert qc["rejected"] == {"contaminated": 1, "duplicate": 1, "near-duplicate": 1, "same": 2}
    assert qc["contamination"] == {"exact": 1, "near": 0, "tasks": {"ships": 1}}


@pytest.mark.parametrize(
    ("changes", "negatives", "said"),
    [
        ({"contamination": {"near": 0.8, "action": "fail"}}, [[TASK_TEXT]] * 5, "1 negatives hold a task's text"),
        ({}, [[None]] * 5, "no pair has a negative; fill the column"),
        ({}, [[TASK_TEXT]] * 5, "most were dropped as 'contaminated'"),
    ],
    ids=["fails for contamination", "none given", "all dropped"],
)
def test_what_is_wrong_with_given_negatives_is_one_line(tmp_path, changes, negatives, said):
    with pytest.raises(PromptpoolError) as caught:
        choose(tmp_path, corpora=[corpus(tmp_path, negatives)], **{"from": "given"}, **changes)
    assert said in str(caught.value) and "adapters.mine.hard_negatives" in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "negatives.parquet").exists()


def test_bounds_that_leave_nothing_are_named(tmp_path):
    with pytest.raises(PromptpoolError, match="none lies within ranks, margin, relative_margin and max_similarity"):
        choose(tmp_path, max_similarity=0.0)


def test_a_histogram_counts_negative_cosines_too():
    assert histogram(pd.Series([-1.0, -0.01, 0.0, 0.049, 0.05, 1.0])) == {
        "-1.00": 1, "-0.05": 1, "0.00": 2, "0.05": 1, "0.95": 1
    }  # fmt: skip


# --- the guard ---------------------------------------------------------------------------------------


def test_a_task_that_is_added_later_is_looked_for_in_negatives(tmp_path):
    sets, tasks = files(tmp_path, tasks=["nothing of the kind"])
    negatives = str(tmp_path / "negatives.parquet")
    pd.DataFrame({"text": ["a"], "positive": ["b"], "negative": [TASK_TEXT]}).to_parquet(negatives)
    (tmp_path / "adapter").mkdir()
    write_sidecar(tmp_path / "adapter", inputs=[*sets, negatives], spec={"a": 1})
    call = {"spec": {"a": 1}, "near": [0.8], "negatives": negatives}
    check_training_data(str(tmp_path / "adapter"), sets, tasks, str(tmp_path / "out.json"), **call)
    assert json.loads((tmp_path / "out.json").read_text())["pairs"][negatives] == file_digest(negatives)
    sets, tasks = files(tmp_path)
    with pytest.raises(PromptpoolError, match="1 negatives hold a text of task ships, which was added later"):
        check_training_data(str(tmp_path / "adapter"), sets, tasks, str(tmp_path / "out.json"), **call)
    pd.DataFrame({"text": ["a"], "positive": ["b"], "negative": ["c"]}).to_parquet(negatives)
    with pytest.raises(PromptpoolError, match="trained with other settings or pairs than now"):
        check_training_data(str(tmp_path / "adapter"), sets, tasks, str(tmp_path / "out.json"), **call)
