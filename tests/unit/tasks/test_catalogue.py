"""Benchmarks by name: the shipped table is the installed MTEB's, and a config that names one gets its tasks."""

import copy

import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.study.study import Study
from promptpool.tasks.catalogue import CATALOGUE_FILE, build, catalogue, write_catalogue
from sample_config import ROOT, demo, told

ENGLISH_V2 = [
    "ArXivHierarchicalClusteringP2P", "ArXivHierarchicalClusteringS2S", "BiorxivClusteringP2P.v2",
    "MedrxivClusteringP2P.v2", "MedrxivClusteringS2S.v2", "StackExchangeClustering.v2", "StackExchangeClusteringP2P.v2",
    "TwentyNewsgroupsClustering.v2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def expanded(**benchmark: object) -> dict:
    return resolve(demo(benchmarks__mine=benchmark))["tasks"]


def test_the_shipped_table_is_the_installed_mtebs(tmp_path):
    write_catalogue(build(), tmp_path / "mteb.json")
    assert (tmp_path / "mteb.json").read_text() == CATALOGUE_FILE.read_text(), (
        "run: python -m promptpool.tasks.catalogue"
    )


def test_every_task_of_a_benchmark_is_known():
    entries = [entry for entries in catalogue()["benchmarks"].values() for entry in entries]
    assert {e if isinstance(e, str) else e["name"] for e in entries} <= set(catalogue()["tasks"])


def test_a_benchmarks_tasks_of_one_type():
    tasks = expanded(name="MTEB(eng, v2)", types=["Clustering"])
    assert [name for name, spec in tasks.items() if spec["source"] == "mteb"] == ENGLISH_V2


@pytest.mark.parametrize(
    ("name", "count"), [("MTEB(eng, v1)", 56), ("MTEB(eng, v2)", 41), ("paper", 8), ("published-script", 26)]
)
def test_whole_benchmarks(name, count):
    assert sum(spec["source"] == "mteb" for spec in expanded(name=name).values()) == count


def test_a_benchmark_takes_its_own_subsets_and_splits():
    task = expanded(name="MTEB(eng, v1)")["MassiveIntentClassification"]
    assert (task["subsets"], task["splits"]) == (["en"], ["test"])


def test_two_benchmarks_share_their_tasks():
    both = {"a": {"name": "MTEB(eng, v2)", "types": ["Clustering"]}, "b": {"name": "paper"}}
    assert sum(spec["source"] == "mteb" for spec in resolve(demo(benchmarks=both))["tasks"].values()) == 8


def test_expanding_twice_changes_nothing():
    once = resolve(demo(benchmarks__mine={"name": "MTEB(eng, v1)"}))
    assert resolve(copy.deepcopy(once)) == once


def test_a_task_that_stands_there_keeps_its_revision():
    pinned = {"source": "mteb", "revision": "abc"}
    config = demo(benchmarks__mine={"name": "paper"})
    config["tasks"]["TwentyNewsgroupsClustering.v2"] = pinned
    assert resolve(config)["tasks"]["TwentyNewsgroupsClustering.v2"]["revision"] == "abc"


def test_a_left_out_task_is_not_scored_and_belongs_to_the_benchmark_all_the_same():
    config = resolve(demo(benchmarks__mine={"name": "paper", "leave_out": ENGLISH_V2[:1]}))
    assert ENGLISH_V2[0] not in config["tasks"] and ENGLISH_V2[1] in config["tasks"]
    assert Study(config).benchmarks() == {"mine": dict.fromkeys(ENGLISH_V2, "Clustering")}


def test_a_benchmark_alone_makes_a_study():
    config = demo(tasks={}, benchmarks__mine={"name": "paper"})
    config["attention"] = None
    assert list(resolve(config)["tasks"]) == ENGLISH_V2


def test_a_benchmarks_tasks_can_be_named_elsewhere():
    config = demo(benchmarks__mine={"name": "paper"}, attention__task=ENGLISH_V2[-1])
    assert resolve(config)["attention"]["task"] == ENGLISH_V2[-1]


def test_the_papers_config_scores_eight_clustering_tasks_and_four_of_other_types():
    config = resolve(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    others = ["EmotionClassification", "ToxicConversationsClassification", "STSBenchmark", "NanoSciFactRetrieval"]
    assert sorted(config["tasks"]) == sorted([*ENGLISH_V2, *others])


@pytest.mark.parametrize(
    ("changes", "line"),
    {
        "unknown benchmark": (
            {"benchmarks.mine": {"name": "MTEB(eng,v2)"}},
            "benchmarks.mine.name: MTEB 2.26.24 has no benchmark of texts named 'MTEB(eng,v2)'; "
            "did you mean 'MTEB(eng, v2)'?",
        ),
        "type that it lacks": (
            {"benchmarks.mine": {"name": "paper", "types": ["STS"]}},
            "benchmarks.mine.types: paper has no task of type 'STS'; use one of Clustering",
        ),
        "left-out task that it lacks": (
            {"benchmarks.mine": {"name": "paper", "leave_out": ["STS17"]}},
            "benchmarks.mine.leave_out: 'STS17' is not one of its tasks; use one of " + ", ".join(ENGLISH_V2),
        ),
        "nothing left": (
            {"benchmarks.mine": {"name": "paper", "leave_out": ENGLISH_V2}},
            "benchmarks.mine.leave_out: no task is left; remove at least one from the list",
        ),
        "another task under its name": (
            {"benchmarks.mine": {"name": "paper"}, "tasks.BiorxivClusteringP2P~v2": {"source": "file", "path": "x"}},
            "tasks.BiorxivClusteringP2P.v2: not the task that benchmarks.mine takes from paper; give yours another "
            "name, or add BiorxivClusteringP2P.v2 to benchmarks.mine.leave_out",
        ),
        "unknown task": (
            {"tasks.News": {"source": "mteb", "name": "TwentyNewsgroupClustering"}},
            "tasks.News.name: MTEB 2.26.24 has no task of texts named 'TwentyNewsgroupClustering'; "
            "did you mean 'TwentyNewsgroupsClustering'?",
        ),
        "task that is nothing like any": (
            {"tasks.qqqq": {"source": "mteb"}},
            "tasks.qqqq: MTEB 2.26.24 has no task of texts named 'qqqq'; mteb.get_tasks() has the names",
        ),
        "no task": ({"tasks": {}}, "tasks: none given; add one, or name a benchmark under benchmarks"),
        "baseline without a directory": (
            {"baselines.mine": {"kind": "sentence-transformers", "path": "./absent"}},
            "baselines.mine.path: no such directory: './absent'; fix the path, or give a hub id such as owner/name",
        ),
        "baseline whose prompt has no place for the text": (
            {"baselines.mine": {"kind": "sentence-transformers", "path": "a/b", "prompt": "query: "}},
            "baselines.mine.prompt: needs exactly one {text}; it has 0: 'query: '",
        ),
        "ablation over a value outside the grid": (
            {"ablations.poolings.values": ["last", "max"]},
            "ablations.poolings.values: pooling 'max' is not in the grid; "
            "use one of mean, last, eos, weighted, attention, or add it to grid",
        ),
        "ablation on an absent task": (
            {"ablations.poolings.tasks": ["StdlibTopic"]},
            "ablations.poolings.tasks: no task or benchmark named 'StdlibTopic'; use one of DocstringSummaries, "
            "DocstringParagraphs, StdlibTopics (did you mean 'StdlibTopics'?)",
        ),
    }.values(),
)  # fmt: skip
def test_faults_are_told_in_one_line(changes, line):
    config = demo()
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        place = config
        for key in parents:
            place = place.setdefault(key, {})
        place[last.replace("~", ".")] = value
    assert told(config) == f"config.yaml: {line}"


def test_an_ablation_asks_for_what_it_compares_and_nothing_else():
    config = demo(benchmarks__mine={"name": "paper"})
    config["prompts"]["other"] = "Group: {text}"
    config["grid"]["prompts"].append("other")
    fixed = {"model": "nano-docs", "adapter": "base", "pooling": "last", "layer": -1}
    config["ablations"] = {
        "two": {"vary": "prompt", "baseline": "none", "values": ["other"], "fixed": fixed, "tasks": ["StdlibTopics"]},
        "whole": {"vary": "prompt", "baseline": "none", "fixed": fixed, "tasks": ["mine"]},
        "steps": {
            "vary": "adapter", "baseline": "base", "values": ["halves@20"], "tasks": ["StdlibTopics"],
            "fixed": {"model": "nano-docs", "prompt": "none", "pooling": "last", "layer": -1},
        },
    }  # fmt: skip
    study = Study(resolve(config))
    assert study.ablation_jobs("two") == ["nano-docs/base/all"]
    assert study.ablation_spec("two")["tasks"] == ["StdlibTopics"]
    assert sorted(study.ablation_tasks("whole")) == ENGLISH_V2
    assert study.ablation_jobs("steps") == ["nano-docs/base/all", "nano-docs/halves@20/all"]
    config["grid"]["jobs"] = "task"
    study = Study(resolve(config))
    assert study.ablation_jobs("two") == ["nano-docs/base/StdlibTopics"]
    assert len(study.ablation_jobs("whole")) == 8
    assert study.ablation_jobs("steps") == ["nano-docs/base/StdlibTopics", "nano-docs/halves@20/StdlibTopics"]


def test_a_question_changes_no_table():
    study = Study(resolve(demo(ablations__poolings__question="Why?")))
    assert study.ablation_spec("poolings") == Study(resolve(demo())).ablation_spec("poolings")


def test_a_benchmark_may_not_be_empty_of_sense():
    with pytest.raises(PromptpoolError, match=r"benchmarks\.mine\.name: missing"):
        resolve(demo(benchmarks__mine={}))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Banking77", "'Banking77Classification'"),
        ("twentynewsgroups", "'TwentyNewsgroupsClustering'"),
        ("StackExchangeClustering.V2", "'StackExchangeClustering.v2'"),
    ],
)
def test_a_part_of_a_tasks_name_suggests_that_task(name, meant):
    config = demo(tasks__Mine={"source": "mteb", "name": name, "revision": "0" * 40})
    assert f"did you mean {meant}" in told(config)
