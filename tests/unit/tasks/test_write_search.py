"""The files of a search with synthetic queries, and that they are a retrieval task like any other."""

import json
from pathlib import Path

import pandas as pd
import pytest
from promptpool.data.retrieval_files import read_retrieval
from promptpool.errors import PromptpoolError
from promptpool.tasks.write_search import search_of, write_search

SPEC = {"most_queries": 100, "most_documents": 100, "column": "text", "pairs": "asked", "styles": ["ask"], "model": "w"}
HELD = [f"a held-out text about subject {n}" for n in range(12)]


def pairs() -> pd.DataFrame:
    """Two queries for each of the first six texts."""
    rows = [
        (f"what of subject {n}, {how}", text) for n, text in enumerate(HELD[:6]) for how in ("briefly", "at length")
    ]
    table = pd.DataFrame(rows, columns=["text", "positive"])
    return table.assign(style="ask", source_id=[f"id{n // 2}" for n in range(12)])


def corpus() -> pd.DataFrame:
    texts = [*HELD, *(f"a text to train on, number {n}" for n in range(5))]
    splits = ["task"] * len(HELD) + ["train"] * 5
    return pd.DataFrame({"id": [f"id{n}" for n in range(len(texts))], "text": texts, "split": splits})


@pytest.fixture
def write(tmp_path):
    def run(table=None, **changes) -> dict[str, str]:
        (pairs() if table is None else table).to_parquet(tmp_path / "pairs.parquet")
        corpus().to_parquet(tmp_path / "corpus.parquet")
        files = {part: str(tmp_path / part) for part in ("queries.jsonl", "documents.jsonl", "qrels.tsv")}
        files = {part.partition(".")[0]: path for part, path in files.items()}
        inputs = str(tmp_path / "pairs.parquet"), str(tmp_path / "corpus.parquet")
        write_search(*inputs, files, name="SyntheticOne", spec=SPEC | changes)
        return files

    return run


def read(files) -> dict[str, pd.DataFrame]:
    spec = {**files, "id": "_id", "text": "text", "title": None}
    return dict(list(read_retrieval(spec, "tasks.SyntheticOne").groupby("part")))


def test_each_query_has_its_own_text_and_the_other_held_out_texts_are_there_too(write):
    parts = read(write())
    assert len(parts["query"]) == 12 and set(parts["document"]["text"]) == set(HELD)
    texts = parts["document"].set_index("id")["text"]
    asked = parts["query"].set_index("id")["text"]
    own = dict(zip(pairs()["text"], pairs()["positive"], strict=True))
    for row in parts["relevant"].itertuples():
        assert own[asked[row.id]] == texts[row.other]
    assert parts["relevant"]["id"].is_unique


def test_the_sidecars_say_that_the_queries_are_synthetic_and_what_wrote_them(write, capsys):
    files = write()
    for path in files.values():
        told = json.loads(Path(f"{path}.meta.json").read_text())
        assert told["synthetic"] is True and told["spec"]["model"] == "w" and told["queries"] == 12
    assert "tasks.SyntheticOne: synthetic queries; queries: 12, documents: 12" in capsys.readouterr().out


def test_larger_numbers_add_and_change_nothing_and_equal_input_gives_equal_files(write):
    few = {part: Path(path).read_text() for part, path in write(most_queries=5, most_documents=7).items()}
    assert {part: text.count("\n") for part, text in few.items()} == {"queries": 5, "documents": 7, "qrels": 6}
    assert {part: Path(path).read_text() for part, path in write(most_queries=5, most_documents=7).items()} == few
    many = read(write(most_queries=9))
    assert set(read(write(most_queries=5))["query"]["id"]) < set(many["query"]["id"])
    assert len(read(write(most_queries=12, most_documents=2))["document"]) == 6  # the queries' own always


def test_copies_are_one_document_and_a_query_that_is_its_text_is_left_out():
    table = pairs().head(3).assign(positive=[HELD[0], HELD[0].upper() + "!", HELD[1]])
    table.loc[2, "text"] = HELD[1].upper()
    queries, documents, relevant = search_of(table, [*HELD[:3], HELD[0] + "."], SPEC)
    assert len(queries) == 2 and len(documents) == 3
    assert {document for _, document in relevant} == {documents[0][0]}


def test_a_text_that_training_may_see_is_refused_by_name(write):
    table = pairs()
    table.loc[0, "positive"] = "a text to train on, number 3"
    with pytest.raises(PromptpoolError) as caught:
        write(table)
    assert str(caught.value) == (
        "tasks.SyntheticOne.pairs: asked has queries for 1 texts that are not set aside for tasks, the first "
        "'a text to train on, number 3'; write the set again"
    )


def test_nothing_to_ask_or_to_find_is_told(write):
    table = pairs().head(1)
    with pytest.raises(PromptpoolError, match=r"0 queries and 12 documents are no search; raise task_share of"):
        write(table.assign(text=table["positive"]))
