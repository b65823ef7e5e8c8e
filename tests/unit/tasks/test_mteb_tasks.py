"""Scores come from MTEB as it is: the same experiments for every variant, and rows of one shape."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.scoring.mteb_results import SCORE_COLUMNS, tidy_rows
from promptpool.scoring.score_baseline import average
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer, mteb_name
from promptpool.tasks.build_task import build_task, sample_texts
from promptpool.tasks.encoders import RecordingEncoder
from promptpool.tasks.mteb_tasks import evaluate, fresh_task, local_task
from tiny_study import WORDS, sentences
from tiny_tasks import lookup

VARIANT = {"model": "small", "adapter": "tuned", "step": 3, "prompt": "cluster", "pooling": "last", "layer": -1}


@pytest.fixture(scope="module")
def labelled() -> pd.DataFrame:
    return sentences(3, 12)


@pytest.fixture(scope="module")
def perfect(labelled) -> dict[str, np.ndarray]:
    """One corner of space for each topic."""
    corners = dict(zip(WORDS, np.eye(len(WORDS), 8, dtype=np.float32), strict=True))
    return {text: corners[label] for text, label in zip(labelled["text"], labelled["label"], strict=True)}


@pytest.fixture(scope="module")
def noise(labelled) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {text: rng.standard_normal(8).astype(np.float32) for text in labelled["text"]}


def scored(vectors: dict, labelled: pd.DataFrame):
    return evaluate(lookup(list(vectors), np.stack(list(vectors.values()))), local_task("Topics", labelled))


def rows_of(vectors: dict, labelled: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(tidy_rows(scored(vectors, labelled), "v_measure", VARIANT, "topics"), columns=SCORE_COLUMNS)


def experiments(vectors: dict, labelled: pd.DataFrame) -> list[float]:
    rows = rows_of(vectors, labelled)
    return rows.loc[rows["metric"] == "v_measure", "value"].tolist()


def test_perfect_vectors_score_one(perfect, labelled):
    assert experiments(perfect, labelled) == pytest.approx([1.0] * 10)


def test_random_vectors_score_low(noise, labelled):
    assert np.mean(experiments(noise, labelled)) < 0.4


def test_two_fresh_tasks_give_identical_scores(noise, labelled):
    # The experiments of two variants are paired only if every task object draws the same ones.
    assert experiments(noise, labelled) == experiments(noise, labelled)


def test_the_experiments_are_unlike_each_other(noise, labelled):
    assert len(set(experiments(noise, labelled))) > 5


def test_a_text_that_was_never_recorded_is_named(noise, labelled):
    stale = dict(list(noise.items())[1:])
    with pytest.raises(PromptpoolError) as caught:
        scored(stale, labelled)
    assert next(iter(noise))[:20] in str(caught.value) and "\n" not in str(caught.value)


def test_rows_have_exactly_the_columns_of_scores(noise, labelled):
    rows = tidy_rows(scored(noise, labelled), "v_measure", VARIANT, "topics")
    assert all(list(row) == SCORE_COLUMNS[:-1] for row in rows)  # the last is of replicates, which MTEB does not give
    assert {row["task"] for row in rows} == {"topics"}


@pytest.mark.parametrize("metric", ["v_measure", "ami", "main_score"])
def test_a_metric_has_ten_experiments(noise, labelled, metric):
    table = rows_of(noise, labelled)
    found = table[table["metric"] == metric]
    assert found["experiment"].tolist() == list(range(10))
    assert found["value"].max() <= 1


def test_the_main_score_is_mtebs(noise, labelled):
    table = rows_of(noise, labelled).set_index("metric")["value"]
    assert scored(noise, labelled).get_score() == pytest.approx(table["main_score"].mean())
    assert table["main_score"].tolist() == table["v_measure"].tolist()


def test_levels_of_a_hierarchical_task_are_rows_of_their_own(noise, labelled):
    result = scored(noise, labelled)
    result.scores["test"][0]["v_measures"] = {"Level 0": [0.4, 0.6], "Level 1": [0.5, 0.5]}
    rows = [row for row in tidy_rows(result, "v_measure", VARIANT, "topics") if row["metric"] == "v_measure"]
    assert [(row["level"], row["experiment"], row["value"]) for row in rows] == [
        ("Level 0", 0, 0.4), ("Level 0", 1, 0.6), ("Level 1", 0, 0.5), ("Level 1", 1, 0.5)
    ]  # fmt: skip


def test_a_recorder_writes_down_exactly_the_unique_texts(labelled):
    recorder = RecordingEncoder()
    evaluate(recorder, local_task("Topics", pd.concat([labelled, labelled.head(3)], ignore_index=True)))
    assert sorted(recorder.texts) == sorted(set(labelled["text"]))


def test_every_document_is_embedded_and_drawn_from(labelled):
    # MTEB's default looks at 4 % of the documents.
    many = pd.concat([labelled.assign(text=labelled["text"] + f" again {n}") for n in range(20)], ignore_index=True)
    recorder = RecordingEncoder()
    evaluate(recorder, local_task("Topics", many))
    assert len(recorder.texts) == many["text"].nunique()


def test_a_scored_table_has_a_block_for_each_variant(noise, perfect, labelled, tmp_path):
    labelled.to_parquet(tmp_path / "labelled.parquet")
    pd.DataFrame({"text": list(noise)}).to_parquet(tmp_path / "texts.parquet")
    matrices = {"none": np.stack(list(noise.values())), "cluster": np.stack([perfect[text] for text in noise])}
    variants = [({**VARIANT, "prompt": prompt}, "tuned@3", matrix) for prompt, matrix in matrices.items()]
    files = [str(tmp_path / name) for name in ("labelled.parquet", "texts.parquet")]
    table, lines = Scorer(ScoredTask("topics", {"source": "file"}, *files)).score(variants)
    assert list(table.columns) == SCORE_COLUMNS and len(lines) == 2
    means = table[table["metric"] == "v_measure"].groupby("prompt")["value"].mean()
    assert means["cluster"] == pytest.approx(1) and means["none"] < 0.4


def test_the_order_of_variants_does_not_matter(noise, perfect, labelled, tmp_path):
    labelled.to_parquet(tmp_path / "labelled.parquet")
    pd.DataFrame({"text": list(noise)}).to_parquet(tmp_path / "texts.parquet")
    matrices = [np.stack([vectors[text] for text in noise]) for vectors in (noise, perfect)]
    variants = [({**VARIANT, "layer": layer}, "tuned@3", matrix) for layer, matrix in enumerate(matrices)]
    files = [str(tmp_path / name) for name in ("labelled.parquet", "texts.parquet")]
    scorer = Scorer(ScoredTask("topics", {"source": "file"}, *files))
    one, other = (scorer.score(order)[0].sort_values(SCORE_COLUMNS[:-1]) for order in (variants, variants[::-1]))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_vectors_of_other_texts_are_refused(noise, labelled, tmp_path):
    labelled.to_parquet(tmp_path / "labelled.parquet")
    pd.DataFrame({"text": list(noise)}).to_parquet(tmp_path / "texts.parquet")
    files = [str(tmp_path / name) for name in ("labelled.parquet", "texts.parquet")]
    scorer = Scorer(ScoredTask("topics", {"source": "file"}, *files))
    with pytest.raises(PromptpoolError, match="vectors for"):
        scorer.score([(VARIANT, "base", np.zeros((3, 8), np.float32))])


def test_a_variant_has_a_name_that_mteb_takes():
    assert mteb_name({**VARIANT, "pooling": "mean:text"}) == "small.cluster.mean-text.L-1"
    assert mteb_name({**VARIANT, "adapter": "baseline", "model": "random"}) == "random.baseline"


def test_several_draws_of_a_baseline_are_averaged_experiment_by_experiment(noise, perfect, labelled):
    draws = [rows_of(vectors, labelled) for vectors in (noise, perfect)]
    found = average(draws)
    np.testing.assert_allclose(found["value"], (draws[0]["value"] + draws[1]["value"]) / 2)
    assert list(found.columns) == SCORE_COLUMNS and len(found) == len(draws[0])


def test_a_task_of_a_file_is_built_with_its_texts(labelled, tmp_path):
    labelled.to_csv(tmp_path / "mine.csv", index=False)
    spec = {"source": "file", "path": str(tmp_path / "mine.csv"), "text": "text", "label": "label"}
    build_task("mine", spec, None, str(tmp_path / "labelled.parquet"), str(tmp_path / "texts.parquet"))
    assert pd.read_parquet(tmp_path / "labelled.parquet").equals(labelled.reset_index(drop=True))
    assert sorted(pd.read_parquet(tmp_path / "texts.parquet")["text"]) == sorted(labelled["text"])


def test_bad_rows_are_counted_and_told(labelled, tmp_path, capsys):
    bad = pd.DataFrame({"text": [None, "  ", labelled["text"][0], labelled["text"][0]], "label": ["x", "x", "x", None]})
    pd.concat([labelled, bad]).to_parquet(tmp_path / "mine.parquet")
    spec = {"source": "file", "path": str(tmp_path / "mine.parquet"), "text": "text", "label": "label"}
    build_task("mine", spec, None, str(tmp_path / "labelled.parquet"), str(tmp_path / "texts.parquet"))
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning: tasks.mine")]
    assert "3 of 40 rows lack a text or a label" in told[0]
    assert "1 texts have two labels or more" in told[1] and "'cooking' and 'x'" in told[1]
    facts = json.loads((tmp_path / "labelled.parquet.meta.json").read_text())
    assert (facts["repeated"], facts["contradictory"]) == (1, 1)
    assert (facts["rows_read"], facts["without_text"], facts["without_label"], facts["rows"]) == (40, 2, 1, 37)


def test_ten_rows_are_enough_for_a_task(tmp_path):
    rows = pd.DataFrame({"text": [f"text {n}" for n in range(10)], "label": [f"{n % 5}" for n in range(10)]})
    rows.to_csv(tmp_path / "mine.csv", index=False)
    spec = {"source": "file", "path": str(tmp_path / "mine.csv"), "text": "text", "label": "label"}
    files = {key: str(tmp_path / f"{key}.parquet") for key in ("labelled", "texts")}
    build_task("mine", spec, None, files["labelled"], files["texts"])
    table, _ = Scorer(ScoredTask("mine", spec, **files)).score([(VARIANT, "base", np.eye(10, dtype=np.float32))])
    assert table["value"].notna().all()


def test_a_sample_of_texts_does_not_depend_on_the_others(labelled, tmp_path):
    pd.DataFrame({"text": labelled["text"]}).to_parquet(tmp_path / "all.parquet")
    chosen = sample_texts(str(tmp_path / "all.parquet"), 5, seed=1)
    rest = labelled["text"][~labelled["text"].isin(chosen)].head(10).tolist()
    pd.DataFrame({"text": [*rest, *chosen]}).to_parquet(tmp_path / "some.parquet")
    assert sample_texts(str(tmp_path / "some.parquet"), 5, seed=1) == chosen
    assert sample_texts(str(tmp_path / "all.parquet"), 5, seed=2) != chosen


@pytest.mark.parametrize(
    ("key", "wanted", "known"),
    [("splits", "tests", "test"), ("splits", "validation", "test"), ("subsets", "en", "default")],
)
def test_a_part_that_a_task_does_not_have_is_named_before_its_data_is_read(key, wanted, known):
    spec = {"source": "mteb", "name": "Banking77Classification", "revision": None, key: [wanted]}
    line = f"tasks.Mine.{key}: Banking77Classification has no '{wanted}'; use one of {known}"
    with pytest.raises(PromptpoolError, match=re.escape(line)):
        fresh_task("Mine", spec, None)
