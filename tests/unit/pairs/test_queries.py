"""Queries that a language model writes: several a text, each the pair's text, kept apart from other texts' queries."""

import json

import numpy as np
import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import Written
from promptpool.models.checkpoint import Checkpoint
from promptpool.pairs import make_pairs as synthesis
from promptpool.pairs.anchors import pick_anchors
from promptpool.pairs.make_pairs import make_pairs
from promptpool.pairs.select_pairs import ranks_by, select_pairs
from promptpool.training.training_pairs import training_pairs

FILTERS = {
    "min_words": 2, "max_echo": 0.8, "length_ratio": [0.5, 20], "script": True, "language": False, "refusal": True,
    "leaked": True, "cut": True, "semantic": None,
}  # fmt: skip
WORDING = {"ask": {"chat": "Ask: {text}", "writes": "query"}, "seek": {"chat": "Seek: {text}", "writes": "query"}}
SPEC = {
    "corpus": "lines", "column": "text", "styles": ["ask", "seek"], "count": None, "seed": 7, "retries": 2,
    "per_text": 3, "noise": {"deletion": 0.1, "swaps": 1, "characters": 0.05}, "filters": FILTERS, "wording": WORDING,
    "backend": "transformers", "model": "small", "temperature": 0.7, "max_new_tokens": 8, "top_p": 0.9,
}  # fmt: skip
SELECTION = {
    "near_duplicate": None, "contamination": {"near": None, "action": "remove"}, "queries": ["ask", "seek"],
    "split": "train",
}  # fmt: skip
TOPICS = ["oven", "keel", "chord", "anchor", "flour", "violin", "rudder", "yeast"]


def corpus(split: str = "train") -> pd.DataFrame:
    texts = [f"a long sentence about the {topic} and what people do with it every day" for topic in TOPICS]
    return pd.DataFrame({"id": [f"id{n}" for n in range(len(texts))], "text": texts, "split": split})


class Asker:
    """Writes a query with the text's topic and the request's seed."""

    def __init__(self, answer=None):
        self.asked, self.answer = [], answer or (lambda request: f"which {topic(request.text)} {request.seed}")

    def write(self, requests, progress=None):
        self.asked += requests
        return [Written(self.answer(request), 5, 3, True) for request in requests]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def topic(text: str) -> str:
    return text.partition("about the ")[2].split()[0]


@pytest.fixture
def written(tmp_path, monkeypatch):
    def run(spec=SPEC, writer=None, table=None) -> pd.DataFrame:
        (corpus() if table is None else table).to_parquet(tmp_path / "corpus.parquet")
        monkeypatch.setattr(synthesis, "open_backend", lambda *a, **k: writer or Asker())
        out = tmp_path / "written.parquet"
        make_pairs(str(tmp_path / "corpus.parquet"), str(out), name="mine", spec=spec, writer=Checkpoint("writer"))
        return pd.read_parquet(out)

    return run


def select(folder, tasks=(), ranks=None, **changes) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    pd.DataFrame({"text": list(tasks)}, dtype=str).to_parquet(folder / "texts.parquet")
    out = [str(folder / name) for name in ("pairs.parquet", "rejected.parquet", "qc.json")]
    spec = {**SELECTION, **changes}
    select_pairs(
        str(folder / "written.parquet"), {"search": str(folder / "texts.parquet")}, *out, name="mine", spec=spec,
        ranks=ranks,
    )  # fmt: skip
    return pd.read_parquet(out[0]), pd.read_parquet(out[1]), json.loads((folder / "qc.json").read_text())


def test_several_rows_of_a_text_go_through_the_styles_and_one_row_is_as_before():
    table = pick_anchors(corpus(), SPEC, "pairs.mine")
    assert len(table) == 24 and table["source_id"].tolist() == table["source_id"][::3].repeat(3).tolist()
    for _, rows in table.groupby("source_id"):
        assert sorted(rows["style"].value_counts()) == [1, 2] and rows["style"].iloc[0] == rows["style"].iloc[2]
        assert rows["repeat"].tolist() == [0, 0, 1]
    one = pick_anchors(corpus(), {**SPEC, "per_text": 1}, "pairs.mine")
    first = table[::3].reset_index(drop=True)
    assert one.equals(first) and (one["repeat"] == 0).all()
    few = pick_anchors(corpus(), {**SPEC, "count": 2}, "pairs.mine")
    assert few.equals(table.head(6))  # count counts texts, and a larger one adds rows


def test_a_query_is_the_pairs_text_and_the_corpus_text_its_positive(written):
    writer = Asker()
    rows = written(writer=writer)
    assert len(writer.asked) == 24 == len({request.seed for request in writer.asked})
    assert set(rows["positive"]) == set(corpus()["text"]) and rows["text"].is_unique
    assert all(topic(positive) in text for text, positive in zip(rows["text"], rows["positive"], strict=True))
    assert rows["reason"].isna().all()  # three words for a text of fourteen: the lower bound is for positives


def test_the_other_styles_of_a_mixed_set_keep_their_sides_and_bounds(written):
    spec = {**SPEC, "styles": ["ask", "simple"], "per_text": 2, "retries": 0,
            "wording": {"ask": WORDING["ask"], "simple": {"chat": "Simply: {text}"}}}  # fmt: skip
    rows = written(spec)
    assert set(rows.loc[rows["style"] == "simple", "text"]) == set(corpus()["text"])
    assert rows.groupby("style")["reason"].agg(lambda reasons: reasons.dropna().unique().tolist()).to_dict() == {
        "ask": [], "simple": ["length"],
    }  # fmt: skip


def test_a_text_keeps_all_its_queries_and_a_query_goes_to_one_text(written, tmp_path):
    def answer(request):
        own = topic(request.text)
        return "what is it for?" if own in ("oven", "keel") else f"which {own} {request.seed}"

    written({**SPEC, "per_text": 2, "retries": 0}, Asker(answer))
    pairs, rejected, qc = select(tmp_path)
    assert pairs["positive"].value_counts().tolist() == [2] * 6 + [1]
    assert rejected["reason"].tolist() == ["duplicate"] * 3 and set(rejected["text"]) == {"what is it for?"}
    # All say `which`, and then a topic and a number of their own.
    assert all(part["distinct_1"] > 0.3 for part in qc["styles"].values()) and "held_out" not in qc


def test_a_tasks_text_is_found_on_both_sides(written, tmp_path):
    rows = written()
    held = [rows["text"].iloc[0], rows["positive"].iloc[-1]]
    _, rejected, qc = select(tmp_path, held)
    assert qc["contamination"]["exact"] == 4 and set(rejected["reason"]) == {"contaminated"}


def test_a_text_that_its_query_does_not_find_is_rejected_and_shown(written, tmp_path):
    """Two texts' queries are swapped: each names the other's topic."""
    swapped = {"oven": "keel", "keel": "oven"}
    spec = {**SPEC, "per_text": 1}
    written(spec, Asker(lambda r: f"which {swapped.get(topic(r.text), topic(r.text))} for {r.seed}"))
    told = {**SELECTION, "round_trip": {"among": 5, "within": 1, "seed": 7, "model": None}, "column": "text"}
    ranks = ranks_by(told, str(tmp_path / "corpus.parquet"), "pairs.mine", None, "cpu")
    pairs, rejected, qc = select(tmp_path, ranks=ranks, **told)
    assert sorted(map(topic, rejected["positive"])) == ["keel", "oven"] and len(pairs) == 6
    assert set(rejected["reason"]) == {"round-trip"} and qc["rejected"] == {"round-trip": 2}
    found = qc["round_trip"]
    assert {key: found[key] for key in ("among", "within", "asked", "first", "lost")} == {
        "among": 5, "within": 1, "asked": 8, "first": 6, "lost": 2,
    }  # fmt: skip
    assert {one["positive"] for one in found["samples"]} == set(rejected["positive"])
    assert all(1 < one["rank"] <= 5 for one in found["samples"])


def test_only_queries_make_the_round_trip(written, tmp_path):
    spec = {**SPEC, "styles": ["ask", "word-swap"], "per_text": 2, "wording": {"ask": WORDING["ask"]}}
    written(spec)
    asked = []

    def ranks(queries, own):
        asked.extend(queries)
        return np.full(len(queries), 99)

    told = {"queries": ["ask"], "round_trip": {"among": 5, "within": 1, "seed": 7, "model": None}, "column": "text"}
    pairs, rejected, _ = select(tmp_path, ranks=ranks, **told)
    assert len(asked) == 8 == len(rejected) and set(pairs["style"]) == {"word-swap"}
    written({**spec, "styles": ["ask"], "per_text": 1})
    with pytest.raises(PromptpoolError, match="a duplicate or a task's text or was not found by its query"):
        select(tmp_path, ranks=ranks, **told)


def test_a_held_out_set_takes_what_is_set_aside_for_tasks_and_nothing_else(written, tmp_path):
    table = pd.concat([corpus("task").head(3), corpus().tail(5)])
    rows = written({**SPEC, "split": "task"}, table=table)
    assert set(rows["positive"]) == set(table["text"].head(3))
    assert not set(written(table=table)["positive"]) & set(rows["positive"])
    written({**SPEC, "split": "task"}, table=table)
    assert select(tmp_path, split="task")[2]["held_out"] is True
    with pytest.raises(PromptpoolError, match=r"pairs\.mine: corpus 'lines' has no text that is set aside for tasks"):
        pick_anchors(corpus(), {**SPEC, "split": "task"}, "pairs.mine")


def test_no_query_of_a_held_out_text_is_trained_on(written, tmp_path):
    written()
    select(tmp_path)
    spec = {"validation": 0.4, "seed": 1}
    kept, held = training_pairs([str(tmp_path / "pairs.parquet")], None, spec)
    assert len(kept) and len(held) and held["positive"].is_unique
    assert not set(kept["positive"]) & set(held["positive"])
