"""What a config takes from the hub: all of it, and nothing that no one uses."""

import pytest
from promptpool.config import resolve
from promptpool.hub_needs import hub_needs, told
from promptpool.study import Study
from test_config import demo

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
    assert sorted(needs) == ["corpora/wiki", "models/gpt", "tasks/News"]
    assert needs["models/gpt"] == {
        "repo_type": "model", "repo": "openai/gpt2", "revision": COMMIT, "file": None, "task": None
    }  # fmt: skip
    assert needs["corpora/wiki"]["repo_type"] == "dataset" and needs["corpora/wiki"]["file"] == "wiki.txt"
    assert needs["tasks/News"]["task"] == "TwentyNewsgroupsClustering.v2" and needs["tasks/News"]["repo"] is None


def test_a_need_is_told_by_its_key(full):
    lines = [told(key, need) for key, need in hub_needs(full).items()]
    assert lines == [
        f"models.gpt: openai/gpt2@{COMMIT}",
        "corpora.wiki: owner/wiki@main",
        "tasks.News: MTEB's TwentyNewsgroupsClustering.v2",
    ]


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
    assert study.hub_spec("tasks", "News")["snapshot"] == f"{study.results}/hub/tasks/News.json"
