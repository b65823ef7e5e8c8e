"""Every type of MTEB task through the look-up: the numbers are those of an ordinary encoder under mteb.evaluate."""

import json

import numpy as np
import pandas as pd
import pytest
from promptpool.artifacts.files import write_sidecar
from promptpool.artifacts.parts import listed_file, write_manifest
from promptpool.embedding.vector_file import write_vectors
from promptpool.scoring.mteb_results import SCORE_COLUMNS, result_line, tidy_rows
from promptpool.scoring.replicates import observed
from promptpool.scoring.score_checkpoint import score_checkpoint
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import write_lines
from promptpool.scoring.write_mteb_results import write_mteb_results
from promptpool.statistics.bootstrap import REPLICATES
from promptpool.statistics.samples import RESAMPLED, samples_by_variant
from promptpool.tasks.build_task import build_task
from promptpool.tasks.encoders import RecordingEncoder
from promptpool.tasks.mteb_tasks import ListedColumns, TaskSource, evaluate, facts_of, fresh_task
from tiny_tasks import DATA, bag_of_words, lookup, tiny_data

# isort: split
import mteb
from mteb.models.model_meta import ModelMeta
from mteb.similarity_functions import cos_sim, pairwise_cos_sim

VARIANT = {"model": "small", "adapter": "tuned", "step": 3, "prompt": "cluster", "pooling": "last", "layer": -1}
RESAMPLED_TASKS = ["TwentyNewsgroupsClustering.v2", "ArXivHierarchicalClusteringP2P", "Banking77Classification",
                   "STSBenchmark", "SprintDuplicateQuestions", "AskUbuntuDupQuestions", "NFCorpus"]  # fmt: skip


class Ordinary:
    """What anyone writes to have a model scored: it computes its vectors when it is asked for them."""

    def __init__(self):
        self.vectors = bag_of_words()
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "an/ordinary", "revision": "1"})

    def encode(self, inputs, **_):
        return self.vectors([text for batch in inputs for text in batch["text"]])

    similarity = staticmethod(cos_sim)
    similarity_pairwise = staticmethod(pairwise_cos_sim)


@pytest.fixture
def source(request, monkeypatch) -> TaskSource:
    tiny_data(monkeypatch, request.param)
    return TaskSource(request.param, spec(request.param), None)


def spec(name: str) -> dict:
    return {"source": "mteb", "name": name, "revision": None, "subsets": None, "splits": None}


def looked_up(source: TaskSource, seed: int = 0):
    recorder = RecordingEncoder()
    evaluate(recorder, source.fresh())
    return lookup(list(recorder.texts), bag_of_words(seed=seed)(list(recorder.texts)))


def numbers(scores: dict) -> dict:
    """Every number of a result, by its place; times of the run left out."""
    found = {}

    def walk(place: str, value) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{place}/{key}", item)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(f"{place}/{index}", item)
        elif isinstance(value, int | float):
            found[place] = value

    walk("", scores)
    return found


@pytest.mark.parametrize("source", DATA, indirect=True)
def test_the_look_up_gives_an_ordinary_encoders_numbers(source, request):
    name = request.node.callspec.params["source"]
    direct = mteb.evaluate(Ordinary(), mteb.get_task(name), cache=None, co2_tracker=False, show_progress_bar=False)
    ours, _ = observed(looked_up(source), source.fresh())
    wanted = numbers(direct.task_results[0].scores)
    assert len(wanted) > 3
    assert numbers(ours.scores) == pytest.approx(wanted, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("source", DATA, indirect=True)
def test_shared_data_gives_what_a_task_of_its_own_gives(source, request):
    encoder = looked_up(source)
    alone = evaluate(encoder, fresh_task("x", spec(request.node.callspec.params["source"]), None))
    for _ in range(2):  # the second would differ if the first had left a trace
        assert numbers(evaluate(encoder, source.fresh()).scores) == pytest.approx(numbers(alone.scores), nan_ok=True)


@pytest.mark.parametrize("source", DATA, indirect=True)
def test_the_mean_of_the_main_rows_is_mtebs_main_score(source):
    task = source.fresh()
    result, _ = observed(looked_up(source), task)
    rows = pd.DataFrame(tidy_rows(result, task.metadata.main_score, VARIANT, "mine"), columns=SCORE_COLUMNS)
    facts = {"mine": facts_of(task, RecordingEncoder())}
    if facts["mine"]["experiments"] == "bootstrap":
        facts["mine"]["documents"] = {"test/default": 100}
    (found,) = samples_by_variant(rows, facts).values()
    assert found["mine"].estimate == pytest.approx(result.get_score())
    own = rows[rows["metric"] == task.metadata.main_score]["value"].tolist()
    assert own == rows[rows["metric"] == "main_score"]["value"].tolist()


@pytest.mark.parametrize("source", RESAMPLED_TASKS, indirect=True)
def test_replicates_of_the_main_score_lie_around_it(source):
    result, replicates = observed(looked_up(source), source.fresh())
    ((place, values),) = replicates.items()
    assert place == ("test", "default", "all", RESAMPLED) and values.shape == (REPLICATES,)
    assert 0 < values.std() < 0.2
    # Documents drawn twice make a small task's V-measure a little higher.
    assert abs(values.mean() - result.get_score()) < 3 * values.std()


@pytest.mark.parametrize("source", RESAMPLED_TASKS, indirect=True)
def test_replicates_are_paired(source):
    # Nearly the same vectors: what they share must fall out of the difference.
    encoder = looked_up(source)
    other = lookup(list(encoder.rows), encoder.matrix + np.float32(1e-3) * np.eye(16, dtype=np.float32)[3])
    one, two = (next(iter(observed(e, source.fresh())[1].values())) for e in (encoder, other))
    assert (one - two).std() < 0.3 * one.std()


@pytest.mark.parametrize("source", ["TwentyNewsgroupsClustering"], indirect=True)
def test_legacy_clustering_gets_the_ami_of_each_set(source):
    rows = source.fresh()
    rows.load_data()
    sets = rows.dataset["test"]
    texts = sorted({text for row in sets["sentences"] for text in row})
    label_of = {text: label for row in sets for text, label in zip(row["sentences"], row["labels"], strict=True)}
    labels = sorted(set(label_of.values()))
    told = np.eye(len(labels), dtype=np.float32)[[labels.index(label_of[text]) for text in texts]]
    blind = np.random.default_rng(0).standard_normal((len(texts), 16)).astype(np.float32)
    for matrix, bounds in ((told, (0.999, 1.001)), (blind, (-0.1, 0.1))):  # chance is 0, which V-measure lacks
        result, found = observed(lookup(texts, matrix), source.fresh())
        ((place, values),) = found.items()
        assert place == ("test", "default", "Level 0", "ami") and len(values) == len(sets)
        assert bounds[0] < values.mean() < bounds[1]
        assert result.get_score() > values.mean() - 1e-9
        assert "ami" not in str(result.scores)  # MTEB's own result stays as it is


def test_a_set_of_one_label_keeps_its_place():
    from datasets import Dataset, DatasetDict

    words = [[f"{a} {n}" for n in range(20)] for a in ("red", "blue")]
    sets = {"sentences": [words[0], [*words[0], *words[1]]], "labels": [[0] * 20, [0] * 20 + [1] * 20]}
    task = mteb.get_task("TwentyNewsgroupsClustering")
    task.dataset, task.data_loaded = DatasetDict({"test": Dataset.from_dict(sets)}), True
    texts = sets["sentences"][1]
    blind = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    _, found = observed(lookup(texts, blind), task)
    (values,) = found.values()
    assert values[0] == 1.0 and abs(values[1]) < 0.3


def test_what_a_task_asks_for_in_which_role(monkeypatch, tmp_path):
    tiny_data(monkeypatch, "NFCorpus")
    build_task("mine", spec("NFCorpus"), None, str(tmp_path / "labelled.parquet"), str(tmp_path / "texts.parquet"))
    texts = pd.read_parquet(tmp_path / "texts.parquet")
    data = DATA["NFCorpus"]()["default"]["test"]
    joined = [f"{row['title']} {row['text']}" for row in data["corpus"]]  # MTEB's own joining
    kinds = texts.groupby("prompt_type")["text"].agg(set)
    assert kinds["document"] == set(joined) and kinds["query"] == set(data["queries"]["text"])
    assert texts["text"].is_unique
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["type"], facts["main_score"], facts["experiments"]) == ("Retrieval", "ndcg_at_10", "none")


@pytest.mark.parametrize(
    ("name", "experiments"),
    [
        ("TwentyNewsgroupsClustering.v2", "bootstrap"),
        ("TwentyNewsgroupsClustering", "sets"),
        ("Banking77Classification", "none"),
    ],
)
def test_facts_tell_what_experiments_are(monkeypatch, name, experiments):
    tiny_data(monkeypatch, name)
    source, recorder = TaskSource(name, spec(name), None), RecordingEncoder()
    task = source.fresh()
    evaluate(recorder, task)
    facts = facts_of(task, recorder)
    assert facts["experiments"] == experiments
    if experiments == "bootstrap":
        assert (facts["draws"], facts["documents"]) == (400, {"test/default": 200})  # half of 400 are embedded


def test_shared_data_gives_columns_at_once_also_of_a_selection():
    data = DATA["TwentyNewsgroupsClustering.v2"]()["test"]
    for ours, theirs in ((ListedColumns.of(data), data), (ListedColumns.of(data).select([5, 2]), data.select([5, 2]))):
        assert isinstance(ours["sentences"], list)
        assert ours["sentences"] == list(theirs["sentences"]) and ours[1] == theirs[1]


def test_a_benchmarks_subsets_and_splits_are_kept():
    task = fresh_task("x", {"source": "mteb", "name": "STS17", "subsets": ["en-en"], "splits": ["test"]}, None)
    assert task.hf_subsets == ["en-en"] and list(task.eval_splits) == ["test"]


def test_a_task_of_several_tasks_is_scored_on_fresh_ones(monkeypatch):
    name = "CQADupstackRetrieval"
    parts = mteb.get_task(name).metadata.tasks

    def load_data(self, num_proc=None, **_):
        self.dataset, self.data_loaded = DATA["NFCorpus"](), True

    for part in parts:
        monkeypatch.setattr(type(part), "load_data", load_data)
    source = TaskSource(name, spec(name), None)
    first, second = (evaluate(looked_up(source), source.fresh()) for _ in range(2))
    assert first.task_name == name and first.get_score() == second.get_score() > 0
    assert not any(part.data_loaded for part in parts)


def test_mteb_reads_our_results_back(monkeypatch, tmp_path):
    names = ["TwentyNewsgroupsClustering.v2", "STSBenchmark"]
    wanted, lines = {}, []
    for name in names:
        tiny_data(monkeypatch, name)
        source = TaskSource(name, spec(name), None)
        for revision, seed in (("base", 0), ("tuned@3", 1)):
            encoder = looked_up(source, seed)
            meta = {"name": "promptpool/small.cluster.last.L-1", "revision": revision}
            encoder.mteb_model_meta = encoder.mteb_model_meta.model_copy(update=meta)
            result = evaluate(encoder, source.fresh())
            wanted[revision, name] = result.get_score()
            lines.append(result_line(encoder, result, {**VARIANT, "adapter": revision}))
    part = tmp_path / "part.results.jsonl"
    write_lines(str(part), lines)
    write_sidecar(part)
    write_manifest(tmp_path / "all.json", [part], computed=[part])
    write_mteb_results([tmp_path / "all.json"], tmp_path / "mteb")
    assert len(set(wanted.values())) == 4
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))
    with pytest.warns(DeprecationWarning):
        old = mteb.load_results(download_latest=False, validate_and_filter=True)
    for loaded in (old, mteb.ResultCache(tmp_path / "mteb").load_results()):
        found = {
            (model.model_revision, result.task_name): result.get_score()
            for model in loaded.model_results
            for result in model.task_results
        }
        assert found == pytest.approx(wanted, abs=1e-6)


def test_a_family_of_an_sts_task_is_scored_with_its_replicates(monkeypatch, tmp_path):
    tiny_data(monkeypatch, "STSBenchmark")
    files = {key: str(tmp_path / f"{key}.parquet") for key in ("labelled", "texts")}
    build_task("mine", spec("STSBenchmark"), None, files["labelled"], files["texts"])
    texts = pd.read_parquet(files["texts"])["text"].tolist()
    keys = {("none", "mean", -1): 0, ("none", "last:text", -1): 1}
    vectors = tmp_path / "vectors/mine/none.safetensors"
    write_vectors(vectors, {key: bag_of_words(seed=seed)(texts) for key, seed in keys.items()})
    write_sidecar(vectors)
    write_manifest(tmp_path / "vectors/all.json", [vectors], computed=[vectors])
    out = tmp_path / "scores/all.json"
    task = ScoredTask("mine", spec("STSBenchmark"), **files)
    score_checkpoint(str(out), [task], vectors=str(tmp_path / "vectors/all.json"), model="small", adapter="tuned@3")
    table = pd.read_parquet(listed_file(out, "mine/none.parquet"))
    assert list(table.columns) == SCORE_COLUMNS and set(table["task"]) == {"mine"}
    assert table.groupby(["pooling", "metric"]).size().to_dict() == {
        (pooling, metric): count
        for pooling in ("mean", "last:text")
        for metric, count in (("cosine_spearman", 1), ("main_score", 1), (RESAMPLED, 1))
    }
    (one, two) = table.loc[table["metric"] == RESAMPLED, "replicates"]
    assert len(one) == len(two) == REPLICATES and table["replicates"].notna().sum() == 2
    write_mteb_results([out], tmp_path / "mteb")
    assert len(mteb.ResultCache(tmp_path / "mteb").load_results().model_results) == 2
