"""Files of a retrieval task: BEIR's layout is read as it lies, and every fault is one line that names it."""

import json

import pandas as pd
import pytest
from promptpool.data.retrieval_files import RETRIEVAL_COLUMNS, read_retrieval
from promptpool.errors import PromptpoolError

QUERIES = [{"_id": "q1", "text": "sum of an array"}, {"_id": "q2", "text": "shortest path"}]
DOCUMENTS = [
    {"_id": "d1", "title": "sum", "text": "Sum of elements."},
    {"_id": "d2", "title": "", "text": "Dijkstra's algorithm."},
    {"_id": "d3", "title": "sort", "text": "Return a sorted copy."},
]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q2\td2\t1", "q2\td3\t0"]


def files(folder, queries=QUERIES, documents=DOCUMENTS, qrels=QRELS, **more) -> dict:
    """A spec over files in BEIR's layout."""
    for name, rows in (("queries", queries), ("corpus", documents)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "test.tsv").write_text("".join(f"{line}\n" for line in qrels))
    paths = {"queries": "queries.jsonl", "documents": "corpus.jsonl", "qrels": "test.tsv"}
    return {
        **{key: str(folder / path) for key, path in paths.items()},
        "id": "_id",
        "text": "text",
        "title": None,
    } | more


def test_beirs_layout_is_read_as_it_lies(tmp_path):
    counts = {}
    table = read_retrieval(files(tmp_path, title="title"), "tasks.mine", counts=counts)
    assert list(table.columns) == RETRIEVAL_COLUMNS
    documents = table[table["part"] == "document"]
    assert documents["text"].tolist() == ["sum Sum of elements.", "Dijkstra's algorithm.", "sort Return a sorted copy."]
    relevant = table[table["part"] == "relevant"]
    assert relevant[["id", "other", "score"]].values.tolist() == [["q1", "d1", 2], ["q2", "d2", 1]]
    assert counts == {"queries": 2, "documents": 3, "relevant": 2, "queries_without_relevant": 0}


def test_ids_stay_text_in_every_format(tmp_path):
    """A reader that guesses would take 007 for 7."""
    spec = files(tmp_path)
    for key, rows, name in (("queries", QUERIES, "q.csv"), ("documents", DOCUMENTS, "d.parquet")):
        table = pd.DataFrame(rows).replace({"q1": "007", "d1": "1e3"})
        path = tmp_path / name
        table.to_csv(path, index=False) if name.endswith("csv") else table.to_parquet(path)
        spec[key] = str(path)
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\n007\t1e3\t1\n")
    told = []
    table = read_retrieval(spec, "tasks.mine", told.append)
    assert table.loc[table["part"] == "relevant", ["id", "other"]].values.tolist() == [["007", "1e3"]]
    assert len(told) == 1 and "1 of 2 queries have no relevant document, such as 'q2'" in told[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qrels": [*QRELS, "q1\td9\t1"]}, "'d9' is no document of"),
        ({"qrels": [*QRELS, "q9\td1\t1"]}, "'q9' is no query of"),
        ({"qrels": [*QRELS, "q1\td2\tyes"]}, "the score 'yes' is no whole number"),
        ({"qrels": [*QRELS, "q1\td2\t0.5"]}, "the score '0.5' is no whole number"),
        ({"qrels": [*QRELS, "q1\td1\t1"]}, "two rows for query 'q1' and document 'd1'"),
        ({"qrels": [QRELS[0], "q1\td1\t0"]}, "no query has a relevant document"),
        ({"qrels": ["query\tdocument\tscore", "q1\td1\t1"]}, "no column 'query-id'"),
        ({"queries": [*QUERIES, {"_id": "q1", "text": "again"}]}, "two texts have the _id 'q1'"),
        ({"documents": [*DOCUMENTS, {"_id": "d4", "title": "", "text": " "}]}, "'d4' has no text"),
        ({"documents": [*DOCUMENTS, {"_id": None, "title": "", "text": "x"}]}, "row 4 has no _id"),
        ({"documents": []}, "has no rows"),
        ({"text": "_id"}, "must be different columns"),
        ({"title": "name"}, "no column 'name'"),
    ],
)  # fmt: skip
def test_a_fault_is_told_in_one_line_with_its_file(tmp_path, change, said):
    with pytest.raises(PromptpoolError) as caught:
        read_retrieval(files(tmp_path, **change), "tasks.mine")
    told = str(caught.value)
    assert said in told and told.startswith("tasks.mine.") and str(tmp_path) in told and "\n" not in told
