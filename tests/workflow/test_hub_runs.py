"""A study of hub models and data sets, for real: prefetch, switch the hub off, score. The hub is one on loopback."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tiny_study
import yaml
from fakehub import FakeHub, serving
from hub_data import TASKS, publish_corpus, publish_data_sets, publish_model
from promptpool.models.sentence_model import sentence_model
from promptpool.templates import Template, families
from tiny import tiny_model
from tiny_study import jobs, sentences, snakemake
from warm_python import warm

pytestmark = pytest.mark.workflow
SMALL, LINES, MINI = "models/owner--small@main", "datasets/owner--lines@main--lines.txt", "models/owner--mini@main"


def study() -> dict:
    """A hub model at a branch, tuned on pairs it wrote from a hub corpus, scored on MTEB's own tasks."""
    return {
        "run": "hub",
        "models": {"small": {"path": "owner/small", "revision": "main"}},
        "corpora": {
            "lines": {"source": "hub", "path": "owner/lines", "revision": "main", "file": "lines.txt", "column": "text"}
        },
        "pairs": {
            "written": {
                "corpus": "lines", "styles": ["continue"], "model": "small", "max_new_tokens": 8,
                "filters": {"min_words": 1, "script": False, "language": False, "leaked": False},
            }
        },
        "adapters": {
            "tuned": {
                "model": "small", "pairs": ["written"], "prompt": "cluster", "pooling": "last", "steps": [2],
                "max_steps": 2, "batch_size": 8, "warmup_steps": 1, "learning_rate": 0.01, "max_text_tokens": 16,
            }
        },
        "prompts": {"cluster": 'This sentence: "{text}" belongs to the following cluster:'},
        "grid": {"models": ["small"], "prompts": ["cluster"], "poolings": ["mean", "last"], "adapters": []},
        "tasks": {name: {"source": "mteb"} for name in TASKS},
        "baselines": {
            "random": {"kind": "random", "dim": 16, "seeds": 1},
            "mini": {"kind": "sentence-transformers", "path": "owner/mini", "revision": "main"},
        },
        "ablations": {},
        "attention": None,
        "exports": {},
    }  # fmt: skip


FAMILY = next(iter(families(study()["prompts"]))).name
# Not scores.parquet: every baseline on every task would double the time, and shows nothing more of the hub.
TARGETS = (
    "results/hub/scores/small/base/all.json",
    "results/hub/adapters/tuned",
    "results/hub/embeddings/baselines/mini.json",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Iterator[pytest.MonkeyPatch]:
    """No proxy, no token, and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
            "HF_TOKEN",
            "HF_HUB_OFFLINE",
            "HF_HUB_CACHE",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield patch


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), texts=sentences(2, 30)["text"].tolist())


@pytest.fixture(scope="module")
def served(environment, model, tmp_path_factory) -> Iterator[FakeHub]:
    encoder = tmp_path_factory.mktemp("encoder")
    sentence_model(str(model), Template.parse("none", "{text}"), "mean", 32).save_pretrained(str(encoder))
    with serving(tmp_path_factory.mktemp("served")) as hub:
        publish_model(hub, model)
        publish_model(hub, encoder, "owner/mini")
        publish_corpus(hub)
        publish_data_sets(hub)
        environment.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture(scope="module")
def forked_jobs(served) -> Iterator[None]:
    """Jobs are forks of a process that imported the libraries with this hub and cache in its environment."""
    with tempfile.TemporaryDirectory(prefix="warm") as place:
        before, tiny_study.PYTHON = tiny_study.PYTHON, warm(Path(place), online=True)
        yield
        tiny_study.PYTHON = before


@pytest.fixture(scope="module")
def folder(served, forked_jobs, tmp_path_factory) -> Path:
    """A study, prefetched; then the hub moved its branches, and was switched off; then the rest ran."""
    folder = tmp_path_factory.mktemp("hub_study")
    answer = snakemake(folder, "prefetch", config=study())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    served.commit("model", "owner/small", {"config.json": b"{}"})
    served.stop()
    answer = snakemake(folder, *TARGETS)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def lock(folder) -> dict:
    return json.loads((folder / "results/hub/hub.lock.json").read_text())


def sidecar(folder: Path, artifact: str) -> dict:
    return json.loads((folder / f"results/hub/{artifact}.meta.json").read_text())


@pytest.mark.parametrize("task", TASKS)
def test_an_unmodified_task_is_scored_with_the_hub_switched_off(folder, task):
    scores = pd.read_parquet(folder / f"results/hub/scores/small/base/{task}/{FAMILY}.parquet")
    assert set(scores["task"]) == {task} and set(scores["pooling"]) == {"mean", "last"}
    assert scores["value"].between(-1, 1).all() and scores["value"].nunique() > 1


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_read_at_the_commit_that_mteb_pins(folder, lock, task):
    repo, commit = TASKS[task]
    pin = lock[f"datasets/{repo.replace('/', '--')}@{commit}"]
    assert (pin["repo"], pin["asked"], pin["commit"]) == (repo, commit, commit)
    assert sidecar(folder, f"tasks/{task}/texts.parquet")["hub"] == {repo: commit}
    assert json.loads((folder / f"results/hub/tasks/{task}/facts.json").read_text())["revision"] == commit


def test_everything_made_of_the_model_names_its_commit(folder, lock):
    commit = lock[SMALL]["commit"]
    assert lock[SMALL]["asked"] == "main" and len(commit) == 40
    embedded = list((folder / "results/hub/embeddings/small").rglob("*.meta.json"))
    assert {json.loads(path.read_text())["spec"]["revision"] for path in embedded} == {commit}
    assert sidecar(folder, "adapters/tuned")["base_revision"] == commit
    assert (
        sidecar(folder, "embeddings/baselines/mini/STSBenchmark.safetensors")["spec"]["revision"]
        == (lock[MINI]["commit"])
    )


def test_the_corpus_names_its_commit(folder, lock):
    assert sidecar(folder, "corpora/lines.parquet")["hub"] == {"owner/lines": lock[LINES]["commit"]}
    texts = pd.read_parquet(folder / "results/hub/corpora/lines.parquet")["text"]
    assert set(texts) == set(sentences(2, 30)["text"])


def test_nothing_was_fetched_that_is_not_read_and_nothing_twice(folder, served):
    files = [path for method, path, _, status in served.requests if method == "GET" and "/resolve/" in path]
    assert not [path for path in files if path.endswith((".bin", ".pth", "nli.csv"))]
    assert len(files) == len(set(files))  # two tasks share a repository


def test_a_second_run_does_nothing(folder):
    assert jobs(snakemake(folder, "-n", *TARGETS)) == {}


def test_another_prefetch_needs_no_network_and_finds_everything_there(folder):
    answer = snakemake(folder, "prefetch")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = [line for line in (folder / "results/hub/logs/prefetch.log").read_text().splitlines() if " MB in " in line]
    assert len(told) == 3 + len(set(TASKS.values()))


def test_another_task_looks_up_that_one_and_leaves_the_rest(folder):
    config = study()
    config["tasks"]["More"] = {"source": "mteb", "name": "StackExchangeClustering.v2"}
    counts = planned(folder, config, "results/hub/scores/small/base/all.json")
    assert counts["fetch_snapshot"] == counts["build_task"] == 1
    assert counts["embed_checkpoint"] == 1
    assert not {"build_corpus", "make_pairs", "train_adapter"} & set(counts)


def test_another_revision_of_the_model_fetches_it_and_keeps_the_tasks(folder):
    config = study()
    config["models"]["small"]["revision"] = "6f1ed002ab5595859014ebf0951522d9ae4e3a5b"
    counts = planned(folder, config)
    assert counts["fetch_snapshot"] == counts["train_adapter"] == 1
    assert counts["embed_checkpoint"] == 1
    assert not {"build_corpus", "build_task"} & set(counts)


def test_a_snapshot_that_the_cache_has_lost_is_one_clear_line(folder, lock):
    marker = json.loads((folder / f"results/hub/hub/{SMALL}.json").read_text())
    weights = Path(marker["folder"], "model.safetensors").resolve()
    kept = weights.read_bytes()
    weights.unlink()
    try:
        answer = snakemake(folder, "--forcerun", "make_pairs", "--", "results/hub/pairs/written/written.parquet")
    finally:
        weights.write_bytes(kept)
    assert answer.returncode != 0
    (line,) = [line for line in told(answer) if "is incomplete in" in line]
    assert lock[SMALL]["commit"] in line and "snakemake --cores all prefetch" in line


def test_a_gated_model_stops_the_run_before_anything_costly_and_a_target_without_it_runs(environment, model, tmp_path):
    with pytest.MonkeyPatch.context() as patch, serving(tmp_path / "served") as hub:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(tmp_path / "hf"))
        publish_model(hub, model)
        publish_model(hub, model, "owner/mini")
        publish_corpus(hub)
        publish_data_sets(hub)
        hub.repositories["model", "owner/small"].gated = True
        answer = snakemake(tmp_path, *TARGETS, config=study())
        assert answer.returncode != 0
        (line,) = [line for line in told(answer) if "is gated" in line]
        assert "models.small: owner/small is gated, and no token is set" in line
        assert not list((tmp_path / "results").rglob("*.log"))  # no job was started
        assert not list((tmp_path / "results").rglob("*.parquet"))
        hub.requests.clear()
        answer = snakemake(tmp_path, "results/hub/corpora/lines.parquet")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert set(hub.fetched()) <= {"lines.txt"}  # fetched now, or before the refusal


def told(answer) -> list[str]:
    return (answer.stdout + answer.stderr).splitlines()


def planned(folder: Path, config: dict, *more: str) -> dict[str, int]:
    """What a dry run with another config would do; the study's own config is put back."""
    try:
        return jobs(snakemake(folder, "-n", *TARGETS, *more, config=config))
    finally:
        (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
