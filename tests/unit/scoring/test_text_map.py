"""The map of texts: coordinates from vectors, labels from the task, and what a config leaves open."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from promptpool.artifacts.files import write_sidecar
from promptpool.artifacts.parts import write_manifest
from promptpool.config.resolve import resolve
from promptpool.config.text_map import map_choice
from promptpool.embedding.vector_file import write_vectors
from promptpool.errors import PromptpoolError
from promptpool.scoring.map_texts import _mteb_labels, embed_2d, map_texts, same_label, task_labels

ROOT = Path(__file__).parents[3]
KEY = ("cluster", "last", -1)


@pytest.fixture
def task(tmp_path) -> dict:
    """Thirty texts of three labels; untuned vectors are noise, tuned ones their label's."""
    rng = np.random.default_rng(0)
    labels = [f"topic {i % 3}" for i in range(30)]
    texts = [f"text {i}" for i in range(30)]
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "texts.parquet")
    centres = np.eye(3, 8)[[i % 3 for i in range(30)]]
    for name, matrix in (("base", rng.normal(size=(30, 8))), ("tuned@4", centres + rng.normal(0, 0.01, (30, 8)))):
        path = tmp_path / f"{name}.safetensors"
        write_vectors(path, {KEY: matrix.astype(np.float32)})
        write_sidecar(path)
        write_manifest(tmp_path / f"{name}.json", [path], computed=[path])
    return {
        "vectors": {name: (str(tmp_path / f"{name}.json"), f"{name}.safetensors") for name in ("base", "tuned@4")},
        "texts": str(tmp_path / "texts.parquet"),
        "labels": dict(zip(texts, labels, strict=True)),
    }


def test_texts_of_one_label_come_together_where_their_vectors_do(task, tmp_path):
    map_texts(str(tmp_path / "map.parquet"), key=KEY, most=1000, seed=1, **task)
    table = pd.read_parquet(tmp_path / "map.parquet")
    assert list(table.columns) == ["adapter", "step", "text", "label", "x", "y", "same"]
    share = table.groupby("adapter")["same"].mean()
    assert share["tuned"] > 0.85 > 0.6 > share["base"]  # nine others have the label, ten neighbours are asked
    tuned = table[table["adapter"] == "tuned"]
    within = tuned.groupby("label")[["x", "y"]].std().mean(axis=None)
    assert within < tuned[["x", "y"]].std().mean() / 2
    assert tuned[["x", "y"]].abs().max(axis=None) == pytest.approx(1)
    assert (tmp_path / "map.parquet.meta.json").exists()


def test_the_same_texts_are_drawn_by_seed_and_unlabelled_ones_left_out(task, tmp_path):
    del task["labels"]["text 3"]
    for name in ("one", "two"):
        map_texts(str(tmp_path / f"{name}.parquet"), key=KEY, most=12, seed=7, **task)
    one, two = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
    assert one["text"].nunique() == 12 and "text 3" not in set(one["text"])


def test_vectors_that_are_not_there_and_too_few_labels_are_named(task, tmp_path):
    with pytest.raises(PromptpoolError, match=r"base\.safetensors: no vectors none/last/-1"):
        map_texts(str(tmp_path / "m"), key=("none", "last", -1), most=10, seed=1, **task)
    with pytest.raises(PromptpoolError, match=r"texts\.parquet has 2 texts with a label"):
        few = {"text 1": "a", "text 2": "b"}
        map_texts(str(tmp_path / "m"), key=KEY, most=10, seed=1, **{**task, "labels": few})


def test_neighbours_are_counted_without_the_text_itself():
    matrix = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert same_label(matrix, np.array(["a", "a", "b", "b"])).tolist() == pytest.approx([1 / 3] * 4)


def test_five_texts_are_enough():
    assert np.isfinite(embed_2d(np.eye(5), 0)).all()


def test_labels_come_from_the_labelled_file_and_the_first_counts(tmp_path):
    table = pd.DataFrame({"text": ["a", "b", "a"], "label": ["x", "y", "z"]})
    table.to_parquet(tmp_path / "labelled.parquet")
    assert task_labels("t", {}, tmp_path / "labelled.parquet") == {"a": "x", "b": "y"}


def test_labels_of_both_of_mtebs_clustering_styles_are_read():
    from datasets import Dataset, DatasetDict

    class Task:
        def __init__(self, dataset):
            self.dataset = dataset

    fast = DatasetDict({"test": Dataset.from_dict({"sentences": ["a", "b"], "labels": [["x", "y"], ["z", "w"]]})})
    assert dict(_mteb_labels(Task(fast))) == {"a": "x", "b": "z"}
    sets = DatasetDict({"test": Dataset.from_dict({"sentences": [["a"], ["b", "c"]], "labels": [["x"], ["y", "z"]]})})
    assert dict(_mteb_labels(Task({"en": sets}))) == {"a": "x", "b": "y", "c": "z"}
    gaps = DatasetDict({"test": Dataset.from_dict({"sentences": ["a", "b", "c"], "labels": ["None", None, "1.10"]})})
    assert dict(_mteb_labels(Task(gaps))) == {"a": "None", "b": "(no label)", "c": "1.10"}


def config(**map_section) -> dict:
    study = yaml.safe_load((ROOT / "tests/sample_study.yaml").read_text(encoding="utf-8"))
    return {**study, "map": map_section}


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_what_is_left_open_follows_the_export(at_root):
    resolved = resolve(config())
    export = next(iter(resolved["exports"].values()))
    chosen = map_choice(resolved)
    assert chosen["adapters"] == ["base", export["adapter"]]
    assert [chosen[key] for key in ("model", "prompt", "pooling")] == [
        export[k] for k in ("model", "prompt", "pooling")
    ]
    assert chosen["task"] in resolved["tasks"]


def test_without_an_export_the_last_step_of_the_first_adapter_is_shown(at_root):
    study = config()
    study["exports"] = {}
    chosen = map_choice(resolve(study))
    assert chosen["adapters"] == ["base", "halves@80"] and chosen["prompt"] == "cluster"


def test_a_study_without_labels_or_with_null_has_no_map(at_root):
    assert map_choice({**resolve(config()), "map": None}) is None
    resolved = resolve(config())
    resolved["tasks"] = {"STSBenchmark": {"source": "mteb", "name": "STSBenchmark"}}
    assert map_choice(resolved) is None


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"task": "Nowhere"}, r"map\.task: 'Nowhere' is not a clustering task"),
        ({"prompt": "nothing"}, r"map\.prompt: 'nothing' is not in the grid"),
        ({"pooling": "max"}, r"map\.pooling: 'max' is not in the grid"),
        ({"layer": 3}, r"map\.layer: 3 is not in the grid"),
        ({"adapters": ["base", "halves@7"]}, r"map\.adapters: 'halves@7' is not in the grid"),
        ({"adapters": []}, r"map\.adapters"),
        ({"colour": "red"}, r"map\.colour: unknown key"),
    ],
)
def test_a_bad_map_is_told_in_one_line(section, line, at_root):
    with pytest.raises(PromptpoolError, match=line):
        resolve(config(**section))
