"""What `long_texts` ask of a study's jobs, what is refused by name, and that a study without chunks is as it was."""

from types import SimpleNamespace

import pytest
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.study.plan import rows
from promptpool.study.study import Study
from promptpool.study.text_sizes import read_of, task_size
from promptpool.variants import FITTING
from sample_config import ROOT, demo

SEARCH = {"source": "docstring-search", "corpus": "docstrings", "packages": ["scipy"]}
WHOLE = SimpleNamespace(share="all")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Paths in a config are relative to where the workflow is started."""
    monkeypatch.chdir(ROOT)


def study(**changes: object) -> Study:
    return Study(resolve(demo(**changes)))


def test_without_chunks_no_param_and_no_key_is_new():
    plain = study()
    assert plain.chunk_params() == plain.max_sim_params() == plain.chunk_facts() == {}
    assert "long_texts" not in plain.costs_spec() and "long_texts" not in plain.grid_spec()
    shown = plain.shown()
    assert "long_texts" not in shown["grid"] and "chunk_overlap" not in shown["grid"]
    assert not any({"long_texts", "chunk_overlap"} & set(spec) for spec in shown["tasks"].values())


def test_a_task_has_its_own_way_or_the_grids():
    config = demo(grid__long_texts="mean", grid__chunk_overlap=8, tasks__StdlibTopics__long_texts="cut")
    config["tasks"]["Search"] = {**SEARCH, "long_texts": "max-sim", "chunk_overlap": 0}
    found = Study(resolve(config))
    mean = {"how": "mean", "overlap": 8}
    assert found.in_chunks() == {
        "DocstringSummaries": mean, "DocstringParagraphs": mean, "Search": {"how": "max-sim", "overlap": 0}
    }  # fmt: skip
    assert found.chunk_params()["long_texts"](WHOLE) == found.in_chunks()
    assert found.max_sim_params()["max_sim"](WHOLE) == ["Search"]
    assert found.chunk_facts() == {"long_texts": found.in_chunks()}
    assert "long_texts" not in found.hub_spec("tasks", "Search")  # its texts and labels are the same
    assert found.shown()["tasks"]["Search"]["long_texts"] == "max-sim" and found.shown()["grid"]["chunk_overlap"] == 8


def test_a_job_of_one_task_has_that_tasks_params():
    config = demo(grid__jobs="task", tasks__DocstringParagraphs__long_texts="mean")
    found = Study(resolve(config))
    of = found.chunk_params()["long_texts"]
    assert of(SimpleNamespace(share="DocstringParagraphs")) == {"DocstringParagraphs": {"how": "mean", "overlap": 0}}
    assert of(SimpleNamespace(share="StdlibTopics")) == {}


def test_statistics_are_of_vectors_like_those_they_are_applied_to():
    config = demo(grid__long_texts="mean", grid__post_processing=["none", "center"])
    assert Study(resolve(config)).share_in_chunks("all")[FITTING] == {"how": "mean", "overlap": 0}
    config = demo(tasks__DocstringParagraphs__long_texts="mean", grid__post_processing=["none", "center"])
    assert FITTING not in Study(resolve(config)).share_in_chunks("all")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tasks__StdlibTopics__long_texts": "max-sim"},
         "tasks.StdlibTopics.long_texts: max-sim compares queries with chunks of documents, and StdlibTopics ranks no "
         "documents; write mean"),
        ({"grid__long_texts": "max-sim"},
         "ranks no documents; write mean, or tasks.DocstringSummaries.long_texts: mean"),
        ({"grid__long_texts": "mean", "grid__chunk_overlap": 100},
         "grid.chunk_overlap: 100 is not below grid.max_text_tokens, 100, the size of a chunk; give a smaller number"),
        ({"tasks__StdlibTopics__long_texts": "mean", "tasks__StdlibTopics__chunk_overlap": 200},
         "tasks.StdlibTopics.chunk_overlap: 200 is not below grid.max_text_tokens, 100"),
        ({"tasks__StdlibTopics__chunk_overlap": 5},
         "tasks.StdlibTopics.chunk_overlap: its long texts are cut, and no chunks overlap; write long_texts: mean"),
        ({"tasks__StdlibTopics__long_texts": "average"},
         "tasks.StdlibTopics.long_texts: unknown long_texts 'average'"),
        ({"grid__chunk_overlap": -1}, "grid.chunk_overlap: -1 is too small"),
    ],
)  # fmt: skip
def test_bad_input_is_named(changes, line):
    with pytest.raises(PromptpoolError) as caught:
        resolve(demo(**changes))
    assert line in str(caught.value)


def test_the_plan_counts_the_tokens_of_chunks():
    assert read_of(40, 100, {"how": "mean", "overlap": 10}) == (40, 1, 1)
    assert read_of(300, 100, {"how": "cut", "overlap": 0}) == (100, 1, 1)
    assert read_of(300, 100, {"how": "mean", "overlap": 0}) == (300, 4, 1)
    tokens, chunks, vectors = read_of(300, 100, {"how": "max-sim", "overlap": 20})
    assert tokens == 300 + (chunks - 1) * 20 and chunks == vectors == 6
    tasks = {"ArXivHierarchicalClusteringP2P": {"source": "mteb"}}
    plain = {"tasks": tasks, "ablations": {}, "attention": None, "map": None, "grid__max_text_tokens": 64}
    cut, mean = (study(**plain, grid__long_texts=how) for how in ("cut", "mean"))
    assert task_size(cut, *tasks).tokens == 64 < task_size(mean, *tasks).tokens
    few, more = ({row.stage: row for row in rows(one)}["embeddings"] for one in (cut, mean))
    assert more.tokens > few.tokens and more.flops > few.flops and more.disk == few.disk
