"""The stages of post-processing: which texts are fitted on, the statistics, and the readouts' scores."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from promptpool.artifacts.files import sidecar_path, write_sidecar
from promptpool.artifacts.parts import texts_digest, write_manifest
from promptpool.embedding.aggregation import Aggregation
from promptpool.embedding.post_processing import fit, read_statistics
from promptpool.embedding.vector_file import read_vectors, write_vectors
from promptpool.errors import PromptpoolError
from promptpool.scoring.choose_fitting_texts import choose_fitting_texts, require_unlabelled
from promptpool.scoring.fit_statistics import fit_statistics
from promptpool.scoring.score_readouts import score_readouts
from promptpool.scoring.scored_task import ScoredTask
from promptpool.variants import FITTING
from tiny_study import sentences

LAYERS = (("cluster", "last", -1), ("cluster", "weighted", 1), ("none", "last", -1), ("none", "weighted", 1))
CENTERED = {"name": "last+center", "layer": -1, "scale": None, "parts": [
    {"pooling": "last", "layer": -1, "post_processing": "center", "weight": 1}]}  # fmt: skip
TWO = {"name": "two", "layer": -1, "scale": "text", "parts": [
    {"pooling": "last", "layer": -1, "post_processing": "soft-whiten(0.5)", "weight": 1},
    {"pooling": "weighted", "layer": 1, "post_processing": "zscore", "weight": 2}]}  # fmt: skip


# --- the texts ---------------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path) -> dict[str, str]:
    for name, start in (("a", 0), ("b", 500)):
        rows = [f"{name} writes sentence number {number} of its own book" for number in range(start, start + 100)]
        pd.DataFrame({"text": rows}).to_parquet(tmp_path / f"{name}.parquet")
    return {name: str(tmp_path / f"{name}.parquet") for name in "ab"}


def task_of(tmp_path, texts: list[str]) -> dict[str, str]:
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "task.parquet")
    return {"topics": str(tmp_path / "task.parquet")}


def test_each_source_gives_a_share_and_the_sidecar_counts(tmp_path, sources):
    choose_fitting_texts(str(tmp_path / "out"), sources, task_of(tmp_path, ["quite another text"]), texts=60, seed=1)
    table = pd.read_parquet(tmp_path / "out")
    assert table["source"].value_counts().to_dict() == {"a": 30, "b": 30}
    assert table["text"].is_unique
    facts = json.loads(sidecar_path(tmp_path / "out").read_text())
    assert (facts["chosen"], facts["left_out"]) == (60, 0)


def test_a_tasks_texts_and_nearly_the_same_are_left_out(tmp_path, sources):
    known = pd.read_parquet(sources["a"])["text"].tolist()
    tasks = task_of(tmp_path, [known[3].upper() + "!", *known[10:60]])
    choose_fitting_texts(str(tmp_path / "out"), sources, tasks, texts=200, seed=1)
    table = pd.read_parquet(tmp_path / "out")
    assert not set(table["text"]) & {known[3], *known[10:60]}
    assert json.loads(sidecar_path(tmp_path / "out").read_text())["left_out"] >= 51


def test_more_texts_keep_those_that_were_chosen(tmp_path, sources):
    for count in (40, 80):
        choose_fitting_texts(str(tmp_path / str(count)), sources, task_of(tmp_path, ["x"]), texts=count, seed=1)
    few, many = (set(pd.read_parquet(tmp_path / str(count))["text"]) for count in (40, 80))
    assert few < many


def test_only_the_rows_for_training_count(tmp_path):
    table = pd.DataFrame({"text": [f"text {n}" for n in range(60)], "split": ["train"] * 30 + ["task"] * 30})
    table.to_parquet(tmp_path / "corpus.parquet")
    tasks = task_of(tmp_path, ["another"])
    choose_fitting_texts(str(tmp_path / "out"), {"c": str(tmp_path / "corpus.parquet")}, tasks, texts=60, seed=1)
    assert set(pd.read_parquet(tmp_path / "out")["text"]) == {f"text {n}" for n in range(30)}


def test_too_few_texts_are_an_error(tmp_path, sources):
    known = [text for path in sources.values() for text in pd.read_parquet(path)["text"]]
    with pytest.raises(PromptpoolError, match=r"^fitting: \d+ texts are left of a, b, .*; name other corpora"):
        choose_fitting_texts(str(tmp_path / "out"), sources, task_of(tmp_path, known[:-5]), texts=60, seed=1)
    assert not (tmp_path / "out").exists()


def test_statistics_of_a_tasks_own_text_are_refused():
    require_unlabelled(["one", "two"], ["three"], "topics")
    with pytest.raises(PromptpoolError, match=r"task topics: post-processing was fitted on its text 'Two, three!'; r"):
        require_unlabelled(["one", "Two, three!"], ["two three"], "topics")


# --- statistics and scores ---------------------------------------------------------------------------


class Run:
    """A checkpoint's vectors of one task and of the fitting texts, as the embeddings stage leaves them."""

    def __init__(self, folder: Path):
        self.folder = folder
        draw = np.random.default_rng(0)
        labelled, unlabelled = sentences(1, 12), sentences(2, 20)
        self.texts = {"topics": labelled["text"].tolist(), FITTING: unlabelled["text"].tolist()}
        labelled.to_parquet(self.path("labelled.parquet"))
        labelled[["text"]].to_parquet(self.path("texts.parquet"))
        unlabelled[["text"]].to_parquet(self.path("fitting.parquet"))
        for name in ("labelled.parquet", "texts.parquet", "fitting.parquet"):
            write_sidecar(self.path(name))
        files = []
        for task, texts in self.texts.items():
            files.append(self.path(f"embeddings/{task}/family.safetensors"))
            vectors = {key: draw.normal(size=(len(texts), 8)).astype(np.float32) + 4 for key in LAYERS}
            write_vectors(files[-1], vectors)
            write_sidecar(files[-1], texts_digest=texts_digest(texts))
        write_manifest(self.path("embeddings/all.json"), files, computed=[])

    def path(self, name: str) -> str:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        return str(self.folder / name)

    def fit(self, *readouts: tuple) -> None:
        wanted = readouts or (("last", -1), ("weighted", 1))
        fit_statistics(self.path("statistics/fitted.json"), self.path("embeddings/all.json"), wanted, code="c")

    def score(self, *readouts: dict) -> list[str]:
        """Returns the files that were computed."""
        out = self.path("readout_scores/all.json")
        task = ScoredTask("topics", {"source": "file"}, self.path("labelled.parquet"), self.path("texts.parquet"))
        score_readouts(
            out, [task], vectors=self.path("embeddings/all.json"), statistics=self.path("statistics/fitted.json"),
            fitted_on=self.path("fitting.parquet"), model="small", adapter="tuned@4", readouts=readouts, code="c",
        )  # fmt: skip
        return json.loads(sidecar_path(out).read_text())["computed"]


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


def test_statistics_are_of_the_fitting_texts_alone(run):
    run.fit()
    known = read_statistics(run.path("statistics/family.safetensors"))
    stored = read_vectors(run.path(f"embeddings/{FITTING}/family.safetensors"))
    assert set(known) == set(LAYERS)
    for key in LAYERS:
        assert np.allclose(known[key].mean, fit(stored[key]).mean)
        assert known[key].texts == len(run.texts[FITTING])
    facts = json.loads(sidecar_path(run.path("statistics/family.safetensors")).read_text())
    assert facts["texts"] == len(run.texts[FITTING]) and "cluster/last/-1" in facts["variants"]


def test_statistics_are_kept_until_a_readout_is_added(run):
    run.fit(("last", -1))
    before = Path(run.path("statistics/family.safetensors")).stat().st_mtime_ns
    run.fit(("last", -1))
    assert Path(run.path("statistics/family.safetensors")).stat().st_mtime_ns == before
    run.fit()
    assert len(read_statistics(run.path("statistics/family.safetensors"))) == 4


def test_a_readout_is_scored_under_every_prompt_and_a_new_one_alone(run):
    run.fit()
    first = run.score(CENTERED)
    assert first == ["topics/family.last+center.-1.parquet", "topics/family.last+center.-1.results.jsonl"]
    table = pd.read_parquet(run.path("readout_scores/topics/family.last+center.-1.parquet"))
    assert set(table["pooling"]) == {"last+center"} and set(table["layer"]) == {-1}
    assert set(table["prompt"]) == {"none", "cluster"} and set(table["step"]) == {4}
    assert run.score(CENTERED) == []
    assert run.score(CENTERED, TWO) == ["topics/family.two.-1.parquet", "topics/family.two.-1.results.jsonl"]


def test_the_scored_vectors_are_those_of_the_readout(run, monkeypatch):
    from promptpool.scoring import scorer

    seen = []

    def watch(self, variants, total=None, chunks=None):
        seen.extend(matrix for _, _, matrix in variants)
        return pd.DataFrame({"x": [1]}), []

    monkeypatch.setattr(scorer.Scorer, "score", watch)
    run.fit()
    run.score(TWO)
    stored = read_vectors(run.path("embeddings/topics/family.safetensors"))
    known = read_statistics(run.path("statistics/family.safetensors"))
    for matrix, prompt in zip(seen, ("cluster", "none"), strict=True):
        assert np.allclose(matrix, Aggregation.of(TWO).read(prompt, stored, known))


def test_scores_are_refused_if_the_fitting_texts_hold_a_tasks_text(run):
    run.fit()
    pd.DataFrame({"text": ["fine", run.texts["topics"][5]]}).to_parquet(run.path("fitting.parquet"))
    with pytest.raises(PromptpoolError, match="task topics: post-processing was fitted on its text"):
        run.score(CENTERED)
