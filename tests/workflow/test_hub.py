"""A study of hub models and data sets, for real: prefetch, switch the hub off, score. The hub is one on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from fakehub import FakeHub, serving
from hub_data import TASKS, publish_corpus, publish_data_sets, publish_model
from tiny import tiny_model
from tiny_study import jobs, sentences, snakemake

pytestmark = pytest.mark.workflow
SCORED = [name for name in TASKS if "Clustering" in name]


def study() -> dict:
    """A hub model at a branch, tuned on pairs it wrote from a hub corpus, scored on MTEB's own tasks."""
    return {
        "run": "hub",
        "models": {"small": {"path": "owner/small", "revision": "main"}},
        "corpora": {
            "lines": {"source": "hub", "path": "owner/lines", "revision": "main", "file": "lines.txt", "column": "text"}
        },
        "pairs": {
            "written": {"corpus": "lines", "style": "continue", "model": "small", "max_new_tokens": 8, "min_words": 1}
        },
        "adapters": {
            "tuned": {
                "model": "small", "pairs": ["written"], "prompt": "cluster", "pooling": "last", "steps": [2],
                "max_steps": 2, "batch_size": 8, "warmup_steps": 1, "learning_rate": 0.01, "max_text_tokens": 16,
            }
        },
        "prompts": {"cluster": 'This sentence: "{text}" belongs to the following cluster:'},
        "grid": {"models": ["small"], "prompts": ["cluster"], "poolings": ["mean", "last"], "adapters": []},
        "tasks": {name: {"source": "mteb"} for name in SCORED},
        "baselines": {"random": {"kind": "random", "dim": 16, "seeds": 1}},
        "ablations": {},
        "attention": None,
        "exports": {"out": {"model": "small", "adapter": "tuned@2", "prompt": "cluster", "pooling": "last"}},
    }  # fmt: skip


TARGETS = ("results/hub/scores.parquet", "results/hub/parity/out.json")


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
def served(environment, tmp_path_factory) -> Iterator[FakeHub]:
    with serving(tmp_path_factory.mktemp("served")) as hub:
        model = tiny_model(tmp_path_factory.mktemp("model"), texts=sentences(2, 30)["text"].tolist())
        publish_model(hub, model)
        publish_corpus(hub)
        publish_data_sets(hub)
        environment.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture(scope="module")
def folder(served, tmp_path_factory) -> Path:
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


@pytest.mark.parametrize("task", SCORED)
def test_an_unmodified_task_is_scored_with_the_hub_switched_off(folder, task):
    scores = pd.read_parquet(folder / "results/hub/scores.parquet")
    rows = scores[(scores["task"] == task) & (scores["metric"] == "main_score")]
    assert set(zip(rows["model"], rows["adapter"], strict=True)) == {
        ("small", "base"),
        ("random", "baseline"),
    }
    assert rows["value"].between(-1, 1).all() and rows["value"].nunique() > 1


@pytest.mark.parametrize("task", SCORED)
def test_a_task_is_read_at_the_commit_that_mteb_pins(folder, lock, task):
    repo, commit = TASKS[task]
    assert [(e["repo"], e["asked"], e["commit"]) for e in lock[f"tasks/{task}"]] == [(repo, commit, commit)]
    assert sidecar(folder, f"tasks/{task}/texts.parquet")["hub"] == {repo: commit}


def test_everything_made_of_the_model_names_its_commit(folder, lock):
    commit = lock["models/small"][0]["commit"]
    assert lock["models/small"][0]["asked"] == "main" and len(commit) == 40
    for path in (folder / "results/hub/embeddings").rglob("*.meta.json"):
        assert json.loads(path.read_text())["spec"]["revision"] == commit
    assert commit in (folder / "results/hub/adapters/tuned.meta.json").read_text()


def test_the_corpus_names_its_commit(folder, lock):
    assert sidecar(folder, "corpora/lines.parquet")["hub"] == {"owner/lines": lock["corpora/lines"][0]["commit"]}
    texts = pd.read_parquet(folder / "results/hub/corpora/lines.parquet")["text"]
    assert set(texts) == set(sentences(2, 30)["text"])


def test_nothing_was_fetched_that_is_not_read(folder, served):
    files = served.fetched()
    assert not {"pytorch_model.bin", "original/consolidated.00.pth", "nli.csv"} & set(files)
    assert files.count("test.jsonl") == 1 + ("Banking77Classification" in SCORED)  # two tasks share a repository


def test_a_second_run_does_nothing(folder):
    assert jobs(snakemake(folder, "-n", *TARGETS)) == {}


def test_another_prefetch_needs_no_network_and_finds_everything_there(folder):
    answer = snakemake(folder, "prefetch")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    log = (folder / "results/hub/logs/prefetch.log").read_text()
    assert log.count("to fetch: 0.00 GB") == log.count("@") == 2 + len(SCORED)


def test_another_task_looks_up_that_one_and_leaves_the_rest(folder):
    config = study()
    config["tasks"]["More"] = {"source": "mteb", "name": "StackExchangeClustering.v2"}
    counts = planned(folder, config)
    assert counts["lock_hub"] == counts["fetch_snapshot"] == counts["build_task"] == 1
    assert counts["embed_family"] == 1
    assert not {"build_corpus", "make_pairs", "train_adapter"} & set(counts)


def test_another_revision_of_the_model_fetches_it_and_keeps_the_tasks(folder):
    config = study()
    config["models"]["small"]["revision"] = "a" * 40
    counts = planned(folder, config)
    assert counts["fetch_snapshot"] == counts["train_adapter"] == 1
    assert counts["embed_family"] == len(SCORED)
    assert not {"build_corpus", "build_task"} & set(counts)


def test_a_snapshot_that_the_cache_has_lost_is_one_clear_line(folder, lock):
    entry = lock["models/small"][0]
    marker = json.loads((folder / "results/hub/hub/models/small.json").read_text())
    weights = Path(marker["snapshots"][0]["folder"], "model.safetensors")
    kept = weights.read_bytes()
    weights.resolve().unlink()
    try:
        answer = snakemake(folder, "--forcerun", "make_pairs", "--", "results/hub/pairs/written/pairs.parquet")
    finally:
        weights.resolve().write_bytes(kept)
    lines = [line for line in (answer.stdout + answer.stderr).splitlines() if "is not whole in" in line]
    assert answer.returncode != 0 and len(lines) == 1
    assert entry["commit"] in lines[0] and "prefetch" in lines[0]


def planned(folder: Path, config: dict) -> dict[str, int]:
    """What a dry run with another config would do; the study's own config is put back."""
    try:
        return jobs(snakemake(folder, "-n", *TARGETS, config=config))
    finally:
        (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
