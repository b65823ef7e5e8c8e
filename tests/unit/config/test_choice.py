"""`choice` and lexical parts in a config: what is refused, and what a study without them keeps."""

import pytest
from promptpool.config.resolve import resolve
from promptpool.study.study import Study
from sample_config import ROOT, demo, told

WORDS = {"lexical": "tfidf-svd", "dim": 64, "weight": 0.5}
LAST = {"pooling": "last"}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def parts(*parts: dict, **changes: object) -> dict:
    return {"aggregations": {"two": {"parts": list(parts), "scale": "corpus"}}, **changes}


BAD = {
    "an unknown criterion": ({"choice": {"criterion": "recall"}}, "choice.criterion: "),
    "an adapter without held-out pairs": (
        {"choice": {"adapters": ["halves"]}, "adapters__halves__validation": 0},
        "choice.adapters: 'halves' holds no pairs out; set adapters.halves.validation to 0.1",
    ),
    "an unknown adapter": (
        {"choice": {"adapters": ["thirds"]}}, "choice.adapters: 'thirds' is not an adapter that is trained here and in",
    ),
    "nobody holds pairs out": (
        {"choice": {}, "adapters__halves__validation": 0, "adapters__synthetic__validation": 0},
        "choice: no adapter of the grid holds pairs out; set adapters.",
    ),
    "no pairs": (
        {"choice": {}, "pairs": {}, "adapters": {}, "exports": {}, "ablations": {}}, "choice: there are no pairs to",
    ),
    "a part that is both": (parts({**LAST, **WORDS}), "aggregations.two.parts: a part has both pooling and lexical"),
    "a part that is neither": (parts({"weight": 1}), "aggregations.two.parts: a part has neither pooling and lexical"),
    "no dim": (parts(LAST, {"lexical": "tfidf-svd"}), "aggregations.two.parts: the lexical part has no dim; give"),
    "a dim of a pooling": (parts({**LAST, "dim": 8}), "aggregations.two.parts: dim is for a lexical part; remove it"),
    "a layer of words": (parts({**WORDS, "layer": 1}), "aggregations.two.parts: a lexical part counts words and has"),
    "another kind": (parts({**WORDS, "lexical": "bm25"}), "aggregations.two.parts"),
    "an export of words": (
        parts(LAST, WORDS, **{"exports__docs-cluster__pooling": "two"}),
        "exports.docs-cluster.pooling: aggregation 'two' can't be exported: it has a lexical part, and stock modules",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_a_fault_is_told_in_a_line(changes, said):
    assert said in told(demo(**changes))


def test_without_the_key_there_is_no_job_and_no_file():
    study = Study(resolve(demo()))
    assert study.choice_states() == [] and study.choice_tables() == [] and study.lexical_parts() == {}
    assert study.embedded_tasks("all", "nano-docs", "base") == list(study["tasks"])
    assert study.paper_variant() is None and "choice" not in study.shown()


def test_candidates_are_the_untuned_model_and_what_held_pairs_out():
    study = Study(resolve(demo(choice={}, adapters__halves__validation=0.1)))
    held = [name for name, spec in study["adapters"].items() if spec["validation"]]
    assert {adapter.partition("@")[0] for _, adapter in study.choice_states()} == {"base", *held}
    assert not any("~" in adapter for _, adapter in study.choice_states())
    assert study.embedded_tasks("all", "nano-docs", "base")[-1] == "_choice"
    one = Study(resolve(demo(choice={"adapters": ["halves"]}, adapters__halves__validation=0.1)))
    assert {adapter.partition("@")[0] for _, adapter in one.choice_states()} == {"base", "halves"}
    assert one.choice_sets() == one.adapter_pairs("halves")


@pytest.mark.parametrize(("jobs", "share"), [("checkpoint", "all"), ("task", "_choice")])
def test_the_proposal_reads_no_task(jobs, share):
    changes = {"grid__jobs": jobs, "adapters__halves__validation": 0.1, **parts(LAST, WORDS)}
    study = Study(resolve(demo(choice={}, **changes)))
    read = [*study.choice_files(), *(path for paths in study.choice_inputs().values() for path in paths)]
    read += study.lexical_parts().values()
    assert not any("/tasks/" in path or "/scores" in path for path in read)
    assert all(path.endswith(f"/{share}.json") for path in study.choice_inputs()["vectors"])
    assert study.lexical_parts() == {"tfidf-svd(64)": "results/demo/lexical/tfidf-svd-64.safetensors"}


def test_a_lexical_part_stands_in_the_place_of_a_pooling():
    study = Study(resolve(demo(**parts(LAST, WORDS))))
    (readout,) = study.readouts()
    assert readout["parts"][1] == {
        "pooling": "tfidf-svd(64)", "layer": -1, "post_processing": "none", "weight": 0.5,
    }  # fmt: skip
    assert readout["parts"][0] == {"pooling": "last", "layer": -1, "post_processing": "none", "weight": 1}
    assert study.fitted_readouts() == [["last", -1]]
