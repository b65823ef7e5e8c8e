"""Published averages are reference lines where the tasks are exactly theirs, and nowhere else."""

import copy

import pytest
from promptpool.tasks.catalogue import benchmark_tasks, catalogue
from promptpool.tasks.published import published, published_scores

V2 = {name: {"source": "mteb", "revision": None, **spec} for name, spec in benchmark_tasks("paper").items()}


def lines(tasks: dict, names=None) -> list[str]:
    return [line["label"] for line in published_scores({"tasks": tasks}, names or tasks)]


def test_every_number_has_a_source_and_a_sensible_size():
    for entry in published():
        assert benchmark_tasks(entry["benchmark"], entry["types"])
        for average in entry["averages"]:
            assert average["source"] and average["label"] and 15 < average["value"] < 80


def test_the_same_tasks_have_the_leaderboards_and_the_papers_lines():
    found = published_scores({"tasks": V2}, V2)
    assert [line["value"] for line in found] == sorted(line["value"] for line in found)
    assert {33.2, 46.8, 54.1} <= {line["value"] for line in found}
    # The first version is another set of tasks, with other averages.
    assert 41.9 not in {line["value"] for line in found}


def test_the_first_version_has_its_own():
    tasks = {
        n: {"source": "mteb", "revision": None, **s}
        for n, s in benchmark_tasks("MTEB(eng, v1)", ["Clustering"]).items()
    }
    assert {line["value"] for line in published_scores({"tasks": tasks}, tasks)} == {41.9, 43.6, 46.5, 49.9, 50.3, 56.3}


@pytest.mark.parametrize("change", ["fewer", "more", "revision", "subsets", "own file"])
def test_any_other_set_has_none(change):
    tasks, names = copy.deepcopy(V2), list(V2)
    first = names[0]
    if change == "fewer":
        names = names[1:]
    elif change == "more":
        tasks["mine"], names = {"source": "file", "revision": None}, [*names, "mine"]
    elif change == "revision":
        tasks[first]["revision"] = "0" * 40
    elif change == "subsets":
        tasks[first]["subsets"] = ["other"]
    else:
        tasks[first] = {"source": "file", "path": "own.csv"}
    assert lines(tasks, names) == []


def test_mtebs_own_revision_written_out_is_the_same_data():
    tasks = copy.deepcopy(V2)
    for name, spec in tasks.items():
        own = {revision for _, revision in catalogue()["data"][name]}
        if len(own) == 1:
            spec["revision"] = own.pop()
    assert lines(tasks)
