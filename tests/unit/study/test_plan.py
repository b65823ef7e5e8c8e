"""The plan of a study: its counts are the workflow's, its hours follow from its FLOPs, and it says what it lacks."""

import json

import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.study import plan, plan_checks
from promptpool.study.plan import cpu_hours, gpu_hours, rows
from promptpool.study.plan_sizes import assumptions, model_size
from promptpool.study.study import Study
from promptpool.study.text_sizes import task_size
from sample_config import ROOT, demo


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def paper() -> Study:
    return Study(resolve(yaml.safe_load((ROOT / "config.yaml").read_text())))


def by_stage(study: Study) -> dict:
    return {row.stage: row for row in rows(study)}


def test_one_more_pooling_costs_disk_and_no_flops():
    poolings = resolve(demo())["grid"]["poolings"]
    few, more = (
        by_stage(Study(resolve(demo(grid__poolings=names))))["embeddings"] for names in (poolings, [*poolings, "max"])
    )
    assert more.disk / few.disk == pytest.approx((len(poolings) + 1) / len(poolings))
    assert more.flops == few.flops > 0


def test_training_costs_by_its_steps():
    one, two, three = (
        by_stage(Study(resolve(demo(adapters__synthetic__max_steps=steps))))["adapters"].flops
        for steps in (100, 200, 300)
    )
    assert two - one == pytest.approx(three - two) and two > one


def test_hours_are_flops_over_the_assumed_speed(paper):
    row = by_stage(paper)["embeddings"]
    speed = assumptions()["gpus"]["H100"]["tflops"] * 1e12 * assumptions()["utilisation"]["embed"]
    assert gpu_hours(row, "H100") == pytest.approx(row.flops / speed / 3600)


def test_core_hours_are_the_measured_speeds(paper):
    row = by_stage(paper)["adapters"]
    assert cpu_hours(row) == pytest.approx(row.flops / assumptions()["cpu_core"]["train"] / 3600)
    assert cpu_hours(by_stage(paper)["scores"]) == 0


def test_texts_are_counted_by_mteb(paper):
    size = task_size(paper, "TwentyNewsgroupsClustering.v2")
    assert 2_000 < size.texts < 2_500  # 4 % of 59,545 documents
    assert 5 < size.tokens < 10 and size.note == ""


def test_a_local_models_size_is_read_and_anothers_is_taken_from_its_name():
    small = model_size("workflow/resources/nano-docs")
    assert 4e6 < small["parameters"] < 7e6 and not small["guess"]
    assert model_size("someone/thing-8B")["parameters"] == 8e9 and model_size("someone/thing-8B")["guess"]
    assert model_size("someone/thing-350m-base")["parameters"] == 350e6


def test_what_is_missing_is_named(paper, monkeypatch):
    monkeypatch.setattr(plan_checks, "reachable", lambda endpoint: False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(plan_checks.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10**9})())
    told = "\n".join(plan_checks.missing(paper, disk=5e9, memory=1e9, visible=0))
    for part in ("can't be reached", "meta-llama/Llama-3.2-1B: accept the", "5 GB, and 1 GB are free", "a GPU: none"):
        assert part in told


def test_nothing_is_missing_for_a_local_study_on_a_cpu():
    assert plan_checks.missing(Study(resolve(demo(device="cpu"))), disk=1e6, memory=1e9, visible=0) == []


def test_the_plan_is_written_as_text_and_as_rows(tmp_path):
    text = plan.plan(Study(resolve(demo(device="cpu"))), tmp_path / "plan.txt")
    assert (tmp_path / "plan.txt").read_text() == text
    assert "Nothing is missing." in text and "embeddings" in text
    listed = json.loads((tmp_path / "plan.json").read_text())
    assert {row["stage"] for row in listed} >= {"pairs", "adapters", "embeddings", "scores"}
    assert set(listed[0]["gpu_hours"]) == set(assumptions()["gpus"])
