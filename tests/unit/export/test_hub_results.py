"""The scores in a card's head: MTEB's own entries for MTEB's tasks, and the same form for a study's own."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from promptpool.artifacts.files import write_sidecar
from promptpool.artifacts.parts import write_manifest
from promptpool.export.hub_results import hub_results
from promptpool.export.model_card import model_card
from promptpool.scoring.mteb_results import result_line
from promptpool.tasks.encoders import LookupEncoder
from test_model_card import card
from tiny_export import spec_of

# isort: split
import mteb
import numpy as np
from mteb.results import TaskResult

VARIANT = {"model": "small", "adapter": "tuned", "step": 3, "prompt": "quotes", "pooling": "last", "layer": -1}


def result(task: str, revision: str, scores: dict) -> TaskResult:
    return TaskResult(task_name=task, dataset_revision=revision, mteb_version="2", evaluation_time=1.0, scores=scores)


def entry(subset: str, score: float, metric: str) -> dict:
    return {"hf_subset": subset, "languages": ["eng-Latn"], "main_score": score, metric: score}


def manifest(tmp_path: Path, lines: list[tuple[TaskResult, dict]]) -> str:
    encoder = LookupEncoder({}, np.zeros((0, 2), np.float32), "x")
    path = tmp_path / "scores/small/tuned@3/Topics/quotes.results.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(result_line(encoder, found, variant) for found, variant in lines) + "\n")
    write_sidecar(path)
    out = tmp_path / "scores/small/tuned@3/all.json"
    write_manifest(out, [str(path)], computed=[], inputs=[], spec={}, started=0.0)
    return str(out)


@pytest.fixture
def registered() -> tuple[TaskResult, dict]:
    """A result on a task of MTEB in two languages, and the facts of that task."""
    meta = mteb.get_task("STS17").metadata
    scores = {"test": [entry(name, score, meta.main_score) for name, score in (("en-en", 0.7123), ("ar-ar", 0.4))]}
    facts = {"mteb_name": "STS17", "type": meta.type, "main_score": meta.main_score, "revision": meta.revision}
    return result("STS17", meta.revision, scores), facts


OWN = {"mteb_name": "Topics", "type": "Clustering", "main_score": "v_measure", "revision": "local"}


def test_a_task_of_mteb_has_mtebs_own_entries(tmp_path, registered):
    found, facts = registered
    other = {**VARIANT, "pooling": "mean"}
    where = manifest(tmp_path, [(result("STS17", "x", {}), other), (found, VARIANT)])
    entries = hub_results([where], spec_of(), [facts])
    assert sorted(entries, key=str) == sorted(found.get_hf_eval_results(), key=str) and len(entries) == 2


def test_a_studys_own_task_has_entries_of_the_same_form(tmp_path, registered):
    found, facts = registered
    topics = result("Topics", "local", {"test": [entry("default", 0.5, "v_measure")]})
    where = manifest(tmp_path, [(topics, VARIANT), (found, VARIANT)])
    _, theirs, own = hub_results([where], spec_of(), [facts, OWN])
    assert {key for key, value in vars(own).items() if value is not None} == {
        key for key, value in vars(theirs).items() if value is not None
    }
    assert (own.dataset_name, own.dataset_type, own.metric_value) == ("Topics (default)", "local/Topics", 0.5)
    assert own.task_type == "text-classification"  # what MTEB says of a clustering task


def test_other_data_under_the_name_of_a_task_of_mteb_are_not_passed_off_as_its_own(tmp_path, registered):
    found, facts = registered
    where = manifest(tmp_path, [(found, VARIANT)])
    entries = hub_results([where], spec_of(), [{**facts, "revision": "mine"}])
    assert {one.dataset_revision for one in entries} == {"mine"} and len(entries) == 2


def test_a_variant_that_was_not_scored_has_none(tmp_path, registered):
    where = manifest(tmp_path, [(registered[0], VARIANT)])
    assert hub_results([where], spec_of(prompt="other"), [registered[1]]) == []
    assert hub_results([], spec_of(), []) == []


def test_mtebs_own_command_takes_our_card_as_it_is(tmp_path, registered):
    """`mteb create-model-results --from-existing` adds its tag, which is there, and keeps every entry."""
    where = manifest(tmp_path, [(registered[0], VARIANT)])
    text = model_card(card(results=hub_results([where], spec_of(), [registered[1]])))
    (tmp_path / "README.md").write_text(text)
    meta = mteb.get_model_meta("mteb/baseline-random-encoder")
    cache = mteb.ResultCache(tmp_path / "cache")
    out = tmp_path / "out.md"
    meta.push_model_card_to_hub(
        existing_model_card_id_or_path=tmp_path / "README.md", results_cache=cache, output_path=out
    )
    theirs, ours = ModelCard.load(out), ModelCard.load(tmp_path / "README.md")
    assert theirs.data.eval_results == ours.data.eval_results and theirs.text.strip() == ours.text.strip()
    assert set(theirs.data.tags) == set(ours.data.tags)
    assert json.dumps(theirs.data.to_dict()["model-index"]) == json.dumps(ours.data.to_dict()["model-index"])
