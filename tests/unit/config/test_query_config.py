"""What a config may say of synthetic queries and of tasks made from them."""

from copy import deepcopy

import pytest
from promptpool.config.resolve import resolve, unused_left_out
from promptpool.study.plan import rows
from promptpool.study.study import Study
from sample_config import ROOT, demo, put, told

ASKED = {"corpus": "docstrings", "split": "task", "styles": ["search-question"], "model": "nano-docs"}
TRAINED = {"corpus": "docstrings", "styles": ["search-question", "search-phrase"], "model": "nano-docs", "per_text": 3}
TASK = {"source": "synthetic-search", "pairs": "asked"}
QUERIES = {"pairs.asked": ASKED, "pairs.queries": TRAINED, "tasks.SyntheticSearch": TASK}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def with_queries(**changes) -> dict:
    config = demo(**deepcopy(QUERIES))
    for key, value in changes.items():
        put(config, key.replace("__", "."), deepcopy(value))
    return config


FAULTS = {
    "a style of no kind": (
        {"styles": {"own": {"writes": "query"}}},
        "styles.own: a style has one of chat, turns, plain, and this has none; write one",
    ),
    "a style of two kinds": (
        {"styles": {"own": {"chat": "{text}", "plain": "{text}"}}},
        "styles.own: a style has one of chat, turns, plain, and this has chat and plain; write one",
    ),
    "what a style may write": (
        {"styles": {"own": {"chat": "{text}", "writes": "queries"}}},
        "styles.own.writes: unknown writes 'queries'; use one of positive, query, None (did you mean 'query'?)",
    ),
    "several that are always the same": (
        {"pairs__halves__per_text": 2},
        "pairs.halves.per_text: halves always writes the same; give at most 1, the number of styles",
    ),
    "several at temperature 0": (
        {"pairs__queries__temperature": 0},
        "pairs.queries.per_text: temperature 0 always writes the same; raise it, or give at most 2",
    ),
    "several positives of a data set": (
        {"corpora__mine": {"source": "file", "path": "README.md", "positive": "b"},
         "pairs__own": {"corpus": "mine", "styles": ["dataset"], "per_text": 2}},
        "pairs.own.per_text: dataset gives a text all its positives already; remove per_text, or dataset",
    ),
    "a held-out set without queries": (
        {"pairs__halves__split": "task"},
        "pairs.halves.styles: a set of split task holds queries, and 'halves' writes none; name one of "
        "search-question, search-phrase",
    ),
    "a corpus that sets nothing aside": (
        {"corpora__docstrings__task_share": 0, "tasks": {"BIOSSES": {"source": "mteb"}}, "attention": None,
         "map": None},
        "pairs.asked.split: no text of 'docstrings' is set aside for tasks; give corpora.docstrings.task_share",
    ),
    "a file that sets nothing aside": (
        {"corpora__mine": {"source": "file", "path": "README.md"}, "pairs__asked__corpus": "mine"},
        "pairs.asked.split: no text of 'mine' is set aside for tasks; give corpora.mine.task_share",
    ),
    "a round trip without queries": (
        {"pairs__halves__filters": {"round_trip": {}}},
        "pairs.halves.filters.round_trip: no style of the set writes queries; name one of search-question, "
        "search-phrase, or remove the filter",
    ),
    "a round trip that every text makes": (
        {"pairs__queries__filters": {"round_trip": {"among": 10, "within": 10}}},
        "pairs.queries.filters.round_trip.within: 10 is not below among, 10, so every text is found; lower it",
    ),
    "a round trip's prompt without a place for the text": (
        {"pairs__queries__filters": {"round_trip": {"query_prompt": "query:"}}},
        "pairs.queries.filters.round_trip.query_prompt: 'query:' needs exactly one {text}; add it",
    ),
    "an adapter of a held-out set": (
        {"adapters__halves__pairs": ["halves", "asked"]},
        "adapters.halves.pairs: 'asked' is held out for tasks (split: task); name a set of split train",
    ),
    "a task of no set": (
        {"tasks__SyntheticSearch__pairs": "others"},
        "tasks.SyntheticSearch.pairs: no pairs named 'others' in pairs; use one of continue, halves, asked, queries, "
        "or add it there",
    ),
    "a task of a set that is trained on": (
        {"tasks__SyntheticSearch__pairs": "queries"},
        "tasks.SyntheticSearch.pairs: training may see the texts of 'queries'; set pairs.queries.split to task",
    ),
    "a task that does not say what it is": (
        {"tasks__MySearch": TASK},
        "tasks.MySearch: its name must say that its queries are synthetic; rename it MySearchSynthetic",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_in_one_line(changes, line):
    assert told(with_queries(**changes)) == f"config.yaml: {line}"


def test_a_study_without_queries_has_no_key_param_or_input_of_theirs():
    config = resolve(demo())
    study = Study(config)
    shown = study.shown()
    assert not {"per_text", "split"} & set(shown["pairs"]["halves"])
    assert "round_trip" not in shown["pairs"]["halves"]["filters"] and "styles" in shown
    assert config["pairs"]["halves"]["filters"]["round_trip"] is None  # the config itself is as it was
    assert not {"per_text", "split", "round_trip"} & {
        *study.pairs_spec("halves"),
        *study.pairs_spec("halves")["filters"],
    }
    assert study.selection_spec("halves").keys() == {"near_duplicate", "contamination"}
    assert study.round_trip_files("halves") == {"corpus": [], "snapshot": [], "files": []}
    assert study.selection_code("halves") == [] and study.synthetic_searches() == []
    assert study.selection_tasks("halves") == study.task_texts()
    own = resolve(
        demo(corpora__mine={"source": "file", "path": "README.md"}, styles={"own": {"chat": "{text}"}}), files=False
    )
    assert "task_share" not in Study(own).hub_spec("corpora", "mine")
    assert unused_left_out(own)["styles"] == {"own": {"chat": "{text}"}}


def test_a_held_out_set_waits_for_no_task_is_not_fitted_on_and_not_trained_on():
    study = Study(resolve(with_queries(grid__post_processing=["none", "center"])))
    assert study.selection_waits("asked") == [] and study.selection_tasks("asked") == {}
    assert study.selection_waits("queries") == ["results/demo/checks/tasks_ready"]
    assert "pairs.asked" not in study.fitting_sources() and "pairs.queries" in study.fitting_sources()
    assert study.pairs_spec("asked")["split"] == "task" and "split" not in study.pairs_spec("queries")
    assert study.selection_spec("queries")["queries"] == TRAINED["styles"]
    assert {row.stage: row.jobs for row in rows(study)}["tasks"] == 5  # four tasks, and the files of one


def test_later_jobs_see_a_retrieval_task_over_the_files_that_are_written():
    study = Study(resolve(with_queries(tasks__SyntheticSearch__measure="recall_at_10")))
    files = study.search_files("SyntheticSearch")
    assert set(files) == {"queries", "documents", "qrels"} and study.search_files("StdlibTopics") == {}
    spec = study.hub_spec("tasks", "SyntheticSearch")
    assert spec == {"source": "retrieval", **files, "id": "_id", "text": "text", "title": None,
                    "measure": "recall_at_10", "synthetic": True}  # fmt: skip
    assert study.search_inputs("SyntheticSearch")["pairs"] == "results/demo/pairs/asked/pairs.parquet"
    told = study.search_spec("SyntheticSearch")
    assert told["styles"] == ["search-question"] and told["model"] == "workflow/resources/nano-docs"
    assert study.hub_spec("tasks", "StdlibTopics") == study["tasks"]["StdlibTopics"]


def test_the_filters_model_is_an_input_of_the_selection_and_changes_no_text():
    trip = {"round_trip": {"model": "nano-docs", "query_prompt": "q: {text}"}}
    plain, study = (Study(resolve(with_queries(pairs__queries__filters=one))) for one in ({}, trip))
    assert study.pairs_spec("queries") == plain.pairs_spec("queries") and study.pairs_code(
        "queries"
    ) == plain.pairs_code("queries")
    spec = study.selection_spec("queries")["round_trip"]
    assert spec == {"among": 1000, "within": 10, "seed": 42, "model": {
        "model": "workflow/resources/nano-docs", "revision": None, "prompt": "{text}", "query_prompt": "q: {text}",
        "pooling": "mean"}}  # fmt: skip
    files = study.round_trip_files("queries")
    assert files["corpus"] == ["results/demo/corpora/docstrings.parquet"] and files["snapshot"] == []
    assert "workflow/resources/nano-docs/config.json" in files["files"]
    assert study.selection_code("queries") == ["pairs.round_trip.round_trip_ranks", "pairs.semantic.load_encoder"]


def test_an_embedder_from_the_hub_is_prefetched_beside_the_judge():
    both = {"round_trip": {"model": "owner/finder"}, "semantic": {"model": "owner/judge", "min": 0.3}}
    study = Study(resolve(with_queries(pairs__queries__filters=both)))
    assert [need["repo"] for need in study.needs["pairs.queries"]] == ["owner/finder", "owner/judge"]
    (finder,), (judge,) = study.round_trip_files("queries")["snapshot"], study.judge_snapshot("queries")
    assert "owner--finder" in finder and "owner--judge" in judge
