"""An MTEB task reads the very snapshot that was fetched, whatever else is cached."""

from pathlib import Path

import datasets
import mteb
import pytest
from hub_data import TASKS, twenty_newsgroups
from promptpool.errors import PromptpoolError
from promptpool.tasks.datasets import data_sets, parts, read_from

NEWS = "TwentyNewsgroupsClustering"
REPO, COMMIT = TASKS[NEWS]
OTHER = "9c049f01866beaf368b0d7842f5c221d26100687"


def snapshot(folder: Path, asked: str, commit: str, text: str) -> dict:
    """A snapshot whose first text is `text`."""
    place = folder / "snapshots" / commit
    place.mkdir(parents=True)
    body = twenty_newsgroups()["test.jsonl"].replace(b'"the ', f'"{text} '.encode(), 1)
    (place / "test.jsonl").write_bytes(body)
    return {"repo": REPO, "asked": asked, "commit": commit, "folder": str(place)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def first_text(task) -> str:
    task.load_data()
    return task.dataset["test"]["sentences"][0][0]


def test_a_task_reads_the_commit_that_it_is_told_and_no_other_that_is_cached(tmp_path):
    ours = snapshot(tmp_path, COMMIT, COMMIT, "ours")
    theirs = snapshot(tmp_path, OTHER, OTHER, "theirs")
    assert first_text(read_from(mteb.get_task(NEWS), [theirs], OTHER)).startswith("theirs")
    assert first_text(read_from(mteb.get_task(NEWS), [theirs, ours])).startswith("ours")


def test_mtebs_result_names_the_commit_that_a_branch_stood_for(tmp_path):
    task = read_from(mteb.get_task(NEWS), [snapshot(tmp_path, "main", OTHER, "theirs")], "main")
    assert task.metadata.revision == OTHER
    assert mteb.get_task(NEWS).metadata.revision == COMMIT  # MTEB's own stays as it was


def test_what_was_not_fetched_is_one_line(tmp_path):
    with pytest.raises(PromptpoolError) as caught:
        read_from(mteb.get_task(NEWS), [snapshot(tmp_path, OTHER, OTHER, "theirs")])
    assert f"{REPO}@{COMMIT} was not prefetched" in str(caught.value) and "\n" not in str(caught.value)


def test_an_aggregates_parts_are_its_own():
    name = "CQADupstackRetrieval"
    fetched = [
        {"repo": repo, "asked": revision, "commit": revision, "folder": f"/cache/{repo}"}
        for repo, revision in data_sets(mteb.get_task(name))
    ]
    assert len(fetched) > 1
    for _ in range(2):
        task = read_from(mteb.get_task(name), fetched)
        assert all(part.metadata.dataset["path"].startswith("/cache/") for part in parts(task))
    assert not any(part.metadata.dataset["path"].startswith("/cache/") for part in parts(mteb.get_task(name)))
