"""A search in docstrings: which rows become queries and documents, and what is refused."""

import pandas as pd
import pytest
from promptpool.config.resolve import resolve
from promptpool.data.docstring_search import search_docstrings
from promptpool.data.retrieval_files import RETRIEVAL_COLUMNS
from promptpool.errors import PromptpoolError
from promptpool.study.study import Study
from promptpool.tasks.build_task import build_task
from sample_config import ROOT, demo, told

SPEC = {"source": "docstring-search", "corpus": "docstrings", "packages": ["a"], "most_queries": 3, "most_documents": 5}


def corpus(count: int = 12) -> pd.DataFrame:
    rows = [("a", "task", f"Sums up number {n}.", f"The body of number {n}.\n\nAnd more.") for n in range(count)]
    rows += [
        ("a", "train", "Is trained on.", "So it is no document."),
        ("b", "task", "Is of another package.", "So it is no document either."),
        ("a", "task", "Has no body at all.", ""),
        ("a", "task", "sums up number 1", "Another body for a summary that is there."),
        ("a", "task", "Has a body that is there.", "the body of number 2 AND more"),
    ]
    table = pd.DataFrame(rows, columns=["package", "split", "summary", "body"])
    table["text"] = (table["summary"] + "\n\n" + table["body"]).str.strip()
    table["id"] = [f"m:{n}" for n in range(len(table))]
    return table.drop(columns="body")


def parts(table: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    return tuple(table[table["part"] == part].set_index("id") for part in ("query", "document", "relevant"))


def test_a_summary_looks_for_the_rest_of_its_docstring():
    table = search_docstrings(corpus(), SPEC | {"most_queries": 99, "most_documents": 99}, "tasks.mine")
    assert list(table) == RETRIEVAL_COLUMNS
    queries, documents, relevant = parts(table)
    assert len(queries) == len(documents) == len(relevant) == 12
    for name, other in relevant["other"].items():
        number = queries.loc[name, "text"].rstrip(".").split()[-1]
        if "Another" not in documents.loc[other, "text"] and "AND" not in documents.loc[other, "text"]:
            assert documents.loc[other, "text"] == f"The body of number {number}.\n\nAnd more."
    assert not documents["text"].str.contains("no document").any()


def test_larger_numbers_add_rows_and_change_none():
    small = parts(search_docstrings(corpus(), SPEC, "tasks.mine"))
    large = parts(search_docstrings(corpus(), SPEC | {"most_queries": 5, "most_documents": 8}, "tasks.mine"))
    for few, more, count in zip(small, large, (3, 5, 3), strict=True):
        assert len(few) == count and few["text"].equals(more.head(count)["text"])
    assert set(small[2]["other"]) <= set(small[1].index)


def test_a_package_without_bodies_is_refused():
    with pytest.raises(PromptpoolError, match=r"tasks\.mine: 0 docstrings of c have a summary and a body"):
        search_docstrings(corpus(), SPEC | {"packages": ["c"]}, "tasks.mine")


def test_it_is_built_and_measured_by_what_its_entry_says(tmp_path):
    corpus().to_parquet(tmp_path / "corpus.parquet")
    spec = SPEC | {"measure": "recall_at_1"}
    build_task("Mine", spec, str(tmp_path / "corpus.parquet"), str(tmp_path / "l.parquet"), str(tmp_path / "t.parquet"))
    facts = pd.read_json(tmp_path / "facts.json", typ="series")
    assert (facts["main_score"], facts["type"]) == ("recall_at_1", "Retrieval")
    assert sorted(pd.read_parquet(tmp_path / "t.parquet")["prompt_type"]) == ["document"] * 5 + ["query"] * 3


def test_its_corpus_and_packages_are_checked(monkeypatch):
    monkeypatch.chdir(ROOT)
    own = {"source": "docstring-search", "corpus": "docstrings", "packages": ["scipy", "numpy"]}
    assert told(demo(**{"tasks.Mine": own})) == (
        "config.yaml: tasks.Mine.packages: 'numpy' is not a labelled package of corpus 'docstrings'; add it to "
        "corpora.docstrings.labelled"
    )


def test_the_default_measure_is_no_part_of_a_job(monkeypatch):
    """So a study from before there was the key scores nothing again."""
    monkeypatch.chdir(ROOT)
    own = {"source": "docstring-search", "corpus": "docstrings", "packages": ["scipy"]}
    study = Study(resolve(demo(**{"tasks.Mine": own, "tasks.Other": own | {"measure": "recall_at_10"}})))
    assert "measure" not in study["tasks"]["Mine"] and study["tasks"]["Other"]["measure"] == "recall_at_10"
