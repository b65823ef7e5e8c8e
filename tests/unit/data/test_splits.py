"""Which texts of an own corpus are set aside for tasks."""

import json

import pandas as pd
from promptpool.data.build_corpus import build_corpus, text_corpus
from promptpool.data.splits import splits_of
from promptpool.variants import TASK, TRAIN
from tiny_study import sentences

TEXTS = sentences(4, 400)["text"].tolist()


def test_about_the_share_is_set_aside_and_none_without_one():
    drawn = pd.Series(splits_of(TEXTS, 0.25))
    assert 0.2 < (drawn == TASK).mean() < 0.3 and set(drawn) == {TRAIN, TASK}
    assert set(splits_of(TEXTS, None)) == set(splits_of(TEXTS, 0)) == {TRAIN}


def test_a_text_stays_on_its_side_whatever_else_there_is():
    alone = [splits_of([text], 0.25)[0] for text in TEXTS]
    assert splits_of(TEXTS, 0.25) == alone
    assert splits_of([f" {text.upper()}! " for text in TEXTS], 0.25) == alone
    larger = splits_of(TEXTS, 0.5)
    assert all(more == TASK for one, more in zip(alone, larger, strict=True) if one == TASK)


def test_a_corpus_has_the_share_and_a_text_with_two_positives_is_on_one_side(tmp_path):
    rows = pd.DataFrame({"text": TEXTS[:50] * 2, "positive": [f"positive {n}" for n in range(100)]})
    table = text_corpus(rows, 0.3)
    assert len(table) == 100 and set(table["split"]) == {TRAIN, TASK}
    assert (table.groupby("text")["split"].nunique() == 1).all()
    (tmp_path / "mine.csv").write_text("text\n" + "\n".join(TEXTS) + "\n")
    spec = {"source": "file", "column": "text", "positive": None, "path": str(tmp_path / "mine.csv")}
    build_corpus(str(tmp_path / "lines.parquet"), spec | {"task_share": 0.3})
    built = pd.read_parquet(tmp_path / "lines.parquet")
    assert built["split"].tolist() == splits_of(built["text"], 0.3)
    assert json.loads((tmp_path / "lines.parquet.meta.json").read_text())["spec"]["task_share"] == 0.3
