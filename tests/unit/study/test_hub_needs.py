"""What a config takes from the hub: all of it, and nothing that no one uses."""

import pytest
from hub_data import TASKS
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.hub.snapshots import snapshot_id
from promptpool.study.hub_needs import hub_needs, told
from promptpool.study.study import Study
from sample_config import demo

COMMIT = "4" * 40


@pytest.fixture
def full() -> dict:
    return resolve(
        demo(
            models__gpt={"path": "openai/gpt2", "revision": COMMIT},
            models__idle={"path": "owner/idle", "revision": "main"},
            corpora__wiki={"source": "hub", "path": "owner/wiki", "revision": "main", "file": "wiki.txt"},
            tasks__News={"source": "mteb", "name": "TwentyNewsgroupsClustering.v2"},
            grid__models=["nano-docs", "gpt"],
        )
    )


def test_a_local_study_needs_nothing():
    assert hub_needs(resolve(demo())) == {}


def test_everything_that_is_used_is_needed_and_nothing_else(full):
    needs = hub_needs(full)
    assert sorted(needs) == ["corpora.wiki", "models.gpt", "tasks.News"]
    assert needs["models.gpt"] == [{"repo_type": "model", "repo": "openai/gpt2", "revision": COMMIT, "file": None}]
    assert needs["corpora.wiki"] == [
        {"repo_type": "dataset", "repo": "owner/wiki", "revision": "main", "file": "wiki.txt"}
    ]


def test_a_task_needs_its_data_set_at_the_revision_that_mteb_pins(full):
    (need,) = hub_needs(full)["tasks.News"]
    assert (need["repo"], need["revision"]) == TASKS["TwentyNewsgroupsClustering.v2"]


def test_a_task_needs_its_data_set_at_the_configs_revision():
    full = resolve(demo(tasks__News={"source": "mteb", "name": "TwentyNewsgroupsClustering.v2", "revision": COMMIT}))
    assert hub_needs(full)["tasks.News"][0]["revision"] == COMMIT


def test_an_aggregate_needs_all_its_data_sets_and_takes_no_single_revision():
    assert (
        len(hub_needs(resolve(demo(tasks__CQADupstackRetrieval={"source": "mteb"})))["tasks.CQADupstackRetrieval"]) > 1
    )
    full = resolve(demo(tasks__CQADupstackRetrieval={"source": "mteb", "revision": COMMIT}))
    with pytest.raises(PromptpoolError, match=r"^tasks\.CQADupstackRetrieval\.revision: .* has \d+ data sets"):
        hub_needs(full)


def test_a_baseline_of_the_hub_is_needed():
    full = resolve(demo(baselines__mini={"kind": "sentence-transformers", "path": "owner/mini", "revision": "v1"}))
    assert hub_needs(full)["baselines.mini"][0] == {
        "repo_type": "model", "repo": "owner/mini", "revision": "v1", "file": None
    }  # fmt: skip


def test_a_need_is_told_by_its_entry(full):
    needs = hub_needs(full)
    assert told("models.gpt", needs["models.gpt"]) == f"models.gpt: openai/gpt2@{COMMIT}"
    assert told("corpora.wiki", needs["corpora.wiki"]) == "corpora.wiki: owner/wiki@main"


def test_entries_that_need_the_same_share_a_snapshot_and_are_both_named():
    twins = {"TwentyNewsgroupsClustering": {"source": "mteb"}, "TwentyNewsgroupsClustering.v2": {"source": "mteb"}}
    study = Study(resolve(demo(tasks=twins, attention=None)))
    ((snapshot, need),) = study.hub_snapshots().items()
    assert snapshot == f"datasets/mteb--twentynewsgroups-clustering@{need['revision']}"
    assert study.wanted_by(snapshot) == "tasks.TwentyNewsgroupsClustering, tasks.TwentyNewsgroupsClustering.v2"


@pytest.mark.parametrize(
    ("repo", "revision", "file", "name"),
    [
        ("gpt2", "main", None, "models/gpt2@main"),
        ("owner/small", "refs/pr/1", None, "models/owner--small@refs_pr_1"),
        ("owner/small", "main", "data/a b*.txt", "models/owner--small@main--data_a_b_.txt"),
    ],
)
def test_a_snapshots_name_is_a_file_name(repo, revision, file, name):
    assert snapshot_id({"repo_type": "model", "repo": repo, "revision": revision, "file": file}) == name


def test_what_is_fetched_is_not_asked_for_again(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(full)
    (marker,) = study.snapshot("models", "gpt")
    (tmp_path / marker).parent.mkdir(parents=True)
    (tmp_path / marker).write_text("{}")
    assert [line.split(":")[0] for line in study.unfetched()] == ["corpora.wiki", "tasks.News"]


def test_a_local_entry_has_no_snapshot(full):
    study = Study(full)
    assert study.snapshot("models", "nano-docs") == study.snapshot("models", None) == []
    assert "snapshot" not in study.hub_spec("tasks", next(name for name in study["tasks"] if name != "News"))
    assert study.hub_spec("tasks", "News")["snapshot"] == study.snapshot("tasks", "News")
