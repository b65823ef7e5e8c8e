"""The detectable difference of a plan: from sizes alone, and not far from what studies of these sizes show."""

import pandas as pd
import pytest
import yaml
from promptpool.config.resolve import resolve
from promptpool.study.detectable import (
    HALF_WIDTHS,
    clustering_size,
    detectable_lines,
    study_detectable,
    task_detectable,
)
from promptpool.study.plan import table
from promptpool.study.plan_sizes import assumptions
from promptpool.study.study import Study
from sample_config import ROOT, demo
from scipy import stats

CONSTANTS = {"runs": 60, "documents": 60_000}
# population: documents, labels, the half-width that bench_intervals.py measured (measured/intervals.md)
MEASURED = {
    "Gaussian, 600": (600, 20, 3.32), "Gaussian, 1000": (1000, 20, 3.23), "Gaussian, 2048": (2048, 20, 3.34),
    "clinc150 domains, 600": (600, 10, 4.30), "clinc150 domains, 1000": (1000, 10, 3.85),
    "clinc150 domains, 2048": (2048, 10, 3.21), "banking77, 600": (600, 77, 1.53),
    "arXiv archives, 600": (600, 18, 2.37), "arXiv archives, 1000": (1000, 18, 2.06),
    "arXiv archives, 2048": (2048, 18, 1.54), "banking77, 1000": (1000, 77, 1.38),
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


OTHERS = {"EmotionClassification", "ToxicConversationsClassification", "STSBenchmark", "NanoSciFactRetrieval"}


def test_one_task_by_hand():
    assert task_detectable(600, 10, CONSTANTS) == pytest.approx(1.4 * ((60 + 100) / 10) ** 0.5)
    t = stats.t.ppf(0.975, 15)
    assert pytest.approx((t + stats.norm.ppf(0.8)) / t, abs=0.01) == HALF_WIDTHS


@pytest.mark.parametrize("case", MEASURED)
def test_the_shipped_constants_are_near_what_was_measured(case):
    documents, labels, half_width = MEASURED[case]
    found = task_detectable(documents, labels, assumptions()["detectable"]) / HALF_WIDTHS
    assert 1 / 1.6 < found / half_width < 1.6


def test_tasks_average():
    tasks = {name: {"source": "mteb", "name": "TwentyNewsgroupsClustering.v2"} for name in "ab"}
    study = Study(resolve(demo(tasks=tasks, attention=None, ablations={}, map=None)))
    found = study_detectable(study, CONSTANTS)
    assert found.mean == pytest.approx(found.tasks["a"] / 2**0.5) and found.unknown == ()
    assert clustering_size(study, "a") == (2382, 20)


def test_own_files_are_counted_and_docstrings_once_they_are_built(tmp_path):
    pd.DataFrame({"text": [f"text {i}" for i in range(30)], "label": list("abc") * 10}).to_csv(tmp_path / "own.csv")
    config = demo(tasks__Own={"source": "file", "path": str(tmp_path / "own.csv")})
    study = Study(resolve(config))
    study.results = str(tmp_path)
    assert clustering_size(study, "Own") == (30, 3) and clustering_size(study, "DocstringSummaries") is None
    found = study_detectable(study, CONSTANTS)
    assert list(found.tasks) == ["Own"] and "StdlibTopics" in detectable_lines(found)[-1]
    built = tmp_path / "tasks/DocstringSummaries"
    built.mkdir(parents=True)
    pd.DataFrame({"text": ["x"] * 50, "label": list("abcde") * 10}).to_parquet(built / "labelled.parquet")
    assert clustering_size(study, "DocstringSummaries") == (50, 5)


def test_other_types_have_no_estimate_and_the_plan_says_so():
    paper = Study(resolve(yaml.safe_load((ROOT / "config.yaml").read_text())))
    found = study_detectable(paper, CONSTANTS)
    assert len(found.tasks) == 8 and set(found.unknown) == OTHERS
    text = table(paper)
    assert "Detectable difference: about " in text and "the mean over 8 clustering tasks" in text
    assert "Not in it, for want of a count or a formula: EmotionClassification" in text
    assert "no estimate" in detectable_lines(study_detectable(Study(resolve(demo(run="never-built"))), CONSTANTS))[0]
