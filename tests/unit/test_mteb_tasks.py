"""Scores come from MTEB as it is: the same experiments for every variant, and rows of one shape."""

import numpy as np
import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.mteb_tasks import SCORE_COLUMNS, LookupEncoder, RecordingEncoder, evaluate, local_task, tidy
from promptpool.scoring import average, score_variants
from promptpool.tasks import build_task, sample_texts
from tiny_study import WORDS, sentences

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


def scored(vectors: dict, labelled: pd.DataFrame) -> list[dict]:
    return evaluate(LookupEncoder(vectors, "mine"), local_task("Topics", labelled))


def experiments(vectors: dict, labelled: pd.DataFrame) -> list[float]:
    return [row["value"] for row in tidy(scored(vectors, labelled), VARIANT, "x") if row["metric"] == "v_measure"]


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
    rows = tidy(scored(noise, labelled), VARIANT, "topics")
    assert all(list(row) == SCORE_COLUMNS for row in rows)
    assert {row["task"] for row in rows} == {"topics"}


def test_v_measure_has_ten_experiments(noise, labelled):
    table = pd.DataFrame(tidy(scored(noise, labelled), VARIANT, "topics"))
    found = table[table["metric"] == "v_measure"]
    assert found["experiment"].tolist() == list(range(10))
    assert found["value"].between(0, 1).all()


def test_the_main_score_is_the_mean_of_its_experiments(noise, labelled):
    table = pd.DataFrame(tidy(scored(noise, labelled), VARIANT, "topics")).set_index("metric")["value"]
    assert table["main_score"] == pytest.approx(table["v_measure"].mean())


def test_levels_of_a_hierarchical_task_are_rows_of_their_own():
    entry = {"split": "test", "hf_subset": "default", "main_score": 0.5,
             "v_measures": {"Level 0": [0.4, 0.6], "Level 1": [0.5, 0.5]}}  # fmt: skip
    rows = [row for row in tidy([entry], VARIANT, "topics") if row["metric"] == "v_measure"]
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
    variants = [({**VARIANT, "prompt": prompt}, matrix) for prompt, matrix in matrices.items()]
    files = [str(tmp_path / name) for name in ("labelled.parquet", "texts.parquet")]
    table = score_variants("topics", {"source": "file"}, *files, variants)
    assert list(table.columns) == SCORE_COLUMNS
    means = table[table["metric"] == "v_measure"].groupby("prompt")["value"].mean()
    assert means["cluster"] == pytest.approx(1) and means["none"] < 0.4


def test_several_draws_of_a_baseline_are_averaged_experiment_by_experiment(noise, perfect, labelled):
    draws = [pd.DataFrame(tidy(scored(v, labelled), VARIANT, "x"), columns=SCORE_COLUMNS) for v in (noise, perfect)]
    found = average(draws)
    np.testing.assert_allclose(found["value"], (draws[0]["value"] + draws[1]["value"]) / 2)
    assert list(found.columns) == SCORE_COLUMNS and len(found) == len(draws[0])


def test_a_task_of_a_file_is_built_with_its_texts(labelled, tmp_path):
    labelled.to_csv(tmp_path / "mine.csv", index=False)
    spec = {"source": "file", "path": str(tmp_path / "mine.csv"), "text": "text", "label": "label"}
    build_task("mine", spec, None, str(tmp_path / "labelled.parquet"), str(tmp_path / "texts.parquet"))
    assert pd.read_parquet(tmp_path / "labelled.parquet").equals(labelled.reset_index(drop=True))
    assert sorted(pd.read_parquet(tmp_path / "texts.parquet")["text"]) == sorted(labelled["text"])


def test_a_sample_of_texts_does_not_depend_on_the_others(labelled, tmp_path):
    pd.DataFrame({"text": labelled["text"]}).to_parquet(tmp_path / "all.parquet")
    chosen = sample_texts(str(tmp_path / "all.parquet"), 5, seed=1)
    rest = labelled["text"][~labelled["text"].isin(chosen)].head(10).tolist()
    pd.DataFrame({"text": [*rest, *chosen]}).to_parquet(tmp_path / "some.parquet")
    assert sample_texts(str(tmp_path / "some.parquet"), 5, seed=1) == chosen
    assert sample_texts(str(tmp_path / "all.parquet"), 5, seed=2) != chosen
