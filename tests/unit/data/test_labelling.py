"""Labelled tasks from the corpus: balanced, seeded by digest, the same documents for every column."""

import pandas as pd
import pytest
from promptpool.data.labels import label_docstrings, topics_of_modules
from promptpool.errors import PromptpoolError

SPEC = {"packages": ["lab"], "labels": None, "column": "summary", "min_per_label": 5, "per_label": 8}


def corpus(counts: dict[str, int]) -> pd.DataFrame:
    """Rows of the labels, every second one with prose; as many again of another split and another package."""
    rows = []
    for package, split in (("lab", "task"), ("lab", "train"), ("other", "task")):
        for label, count in counts.items():
            for number in range(count):
                summary = f"{package} {split} {label} summary {number}"
                prose = summary if number % 2 else f"{summary}\nand more of it"
                rows.append((f"{summary}:id", package, label, split, summary, prose, prose + "\n\nall of it"))
    return pd.DataFrame(rows, columns=["id", "package", "label", "split", "summary", "paragraphs", "text"])


def label(table: pd.DataFrame, **changes: object) -> pd.DataFrame:
    return label_docstrings(table, {**SPEC, **changes}, "tasks.mine")


def test_labels_are_balanced():
    found = label(corpus({"lab.a": 50, "lab.b": 20, "lab.c": 8}))
    assert found["label"].value_counts().to_dict() == {"lab.a": 8, "lab.b": 8, "lab.c": 8}


def test_a_label_with_too_few_texts_is_left_out():
    found = label(corpus({"lab.a": 50, "lab.b": 5, "lab.c": 4}))
    assert found["label"].value_counts().to_dict() == {"lab.a": 8, "lab.b": 5}


def test_only_task_rows_of_the_named_packages_are_drawn():
    found = label(corpus({"lab.a": 20, "lab.b": 20}))
    assert found["text"].str.startswith("lab task").all()


def test_every_column_shares_its_documents():
    table = corpus({"lab.a": 20, "lab.b": 20})
    short, long = label(table), label(table, column="paragraphs")
    assert short[["id", "label"]].equals(long[["id", "label"]])
    assert not short["text"].equals(long["text"])


def test_documents_with_prose_come_first():
    found = label(corpus({"lab.a": 20, "lab.b": 20}), column="paragraphs")
    assert found["text"].str.contains("and more of it").all()


def test_the_order_of_the_corpus_does_not_matter():
    table = corpus({"lab.a": 20, "lab.b": 20})
    pd.testing.assert_frame_equal(label(table.sample(frac=1, random_state=1)), label(table))


def test_rows_without_a_label_are_left_out():
    table = corpus({"lab.a": 20, "lab.b": 20})
    table.loc[table["label"] == "lab.b", "label"] = None
    with pytest.raises(PromptpoolError, match="fewer than two labels"):
        label(table)


def test_a_summary_is_one_document_even_under_two_labels():
    table = corpus({"lab.a": 20, "lab.b": 20})
    table.loc[table["summary"].str.endswith("summary 3"), "summary"] = "the same summary"
    assert label(table, per_label=100)["text"].is_unique


def test_fewer_than_two_labels_is_an_error_that_says_what_to_do():
    with pytest.raises(PromptpoolError) as caught:
        label(corpus({"lab.a": 50, "lab.b": 4}))
    assert str(caught.value) == ("tasks.mine: fewer than two labels have 5 texts; lower min_per_label or add packages")


def test_topics_can_group_modules(tmp_path):
    (tmp_path / "topics.yaml").write_text("near: [lab.a, lab.b]\nfar: [lab.c]\n")
    found = label(corpus({"lab.a": 6, "lab.b": 6, "lab.c": 6, "lab.d": 6}), labels=str(tmp_path / "topics.yaml"))
    assert found["label"].value_counts().to_dict() == {"near": 8, "far": 6}


def test_a_module_under_two_topics_is_named(tmp_path):
    (tmp_path / "topics.yaml").write_text("near: [lab.a, lab.b]\nfar: [lab.a]\n")
    with pytest.raises(PromptpoolError, match=r"lab\.a is listed under two topics"):
        topics_of_modules(tmp_path / "topics.yaml", "tasks.mine")


def test_a_missing_topics_file_is_named(tmp_path):
    with pytest.raises(PromptpoolError, match=r"tasks\.mine: labels: .*absent\.yaml: no such file"):
        topics_of_modules(tmp_path / "absent.yaml", "tasks.mine")


def test_topics_are_names_whatever_yaml_takes_them_for(tmp_path):
    (tmp_path / "topics.yaml").write_text("1.1: [a]\n1.10: [b]\nno: [c]\n007: [d]\n2020-01-01: [1.10]\n~: [on]\n")
    found = topics_of_modules(tmp_path / "topics.yaml", "tasks.mine")
    assert found == {"a": "1.1", "b": "1.10", "c": "no", "d": "007", "1.10": "2020-01-01", "on": "~"}
