"""A job scores in its own process or in several, as the machine's cores allow. Both give the same scores."""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from promptpool.config.resolve import resolve
from promptpool.runtime.forked_jobs import PLACE, end_forks, offer_forks
from promptpool.scoring.score_baseline import score_baseline
from promptpool.scoring.scored_task import ScoredTask
from promptpool.study.study import Study
from promptpool.tasks.build_task import build_task
from sample_config import ROOT, demo
from tiny_study import sentences

BASELINE = {"kind": "random", "dim": 8, "seeds": 1}


@pytest.fixture
def tasks(tmp_path) -> list[ScoredTask]:
    made = []
    for seed, name in enumerate(("first", "second")):
        sentences(seed, 8).to_csv(tmp_path / f"{name}.csv", index=False)
        spec = {"source": "file", "path": str(tmp_path / f"{name}.csv"), "text": "text", "label": "label"}
        files = [str(tmp_path / name / file) for file in ("labelled.parquet", "texts.parquet")]
        build_task(name, spec, None, *files)
        made.append(ScoredTask(name, spec, *files))
    return made


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.name: pd.read_parquet(path) for path in sorted(folder.rglob("*.parquet"))}


def test_one_process_and_two_give_the_same_scores(tasks, tmp_path):
    for workers in (1, 2):
        out = str(tmp_path / f"by-{workers}/random.json")
        score_baseline(out, tasks, name="random", baseline=BASELINE, vectors=None, workers=workers)
    alone, shared = (tables(tmp_path / f"by-{workers}") for workers in (1, 2))
    assert alone.keys() == shared.keys() == {"first.parquet", "second.parquet"}
    for name, table in alone.items():
        pd.testing.assert_frame_equal(table, shared[name])


IN_A_FORK = """
import json, sys
from promptpool.runtime.forked_jobs import hand_over, is_fork
hand_over(sys.argv[0])
had = {"torch", "mteb"} <= set(sys.modules)
from promptpool.scoring.score_baseline import score_baseline
from promptpool.scoring.scored_task import ScoredTask
given = json.loads(sys.argv[1])
tasks = [ScoredTask(**task) for task in given.pop("tasks")]
score_baseline(tasks=tasks, **given)
print(is_fork(), had)
"""


def test_processes_that_a_fork_forks_give_the_same_scores(tasks, tmp_path, monkeypatch):
    how = {"name": "random", "baseline": BASELINE, "vectors": None}
    score_baseline(str(tmp_path / "here/random.json"), tasks, workers=1, **how)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "workflow"))
    script = tmp_path / "x.score_baseline.py"
    script.write_text(IN_A_FORK)
    given = {**how, "out": str(tmp_path / "forks/random.json"), "workers": 2, "tasks": [asdict(task) for task in tasks]}
    offer_forks(0, [])
    try:
        command = [sys.executable, str(script), json.dumps(given)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    finally:
        end_forks()
    assert answer.stdout == "True True\n", answer.stderr
    here, forks = tables(tmp_path / "here"), tables(tmp_path / "forks")
    assert here.keys() == forks.keys() == {"first.parquet", "second.parquet"}
    for name, table in here.items():
        pd.testing.assert_frame_equal(table, forks[name])


@pytest.mark.parametrize(
    ("cores", "shared", "threads"),
    [(1, True, 1), (2, True, 1), (4, True, 1), (16, True, 4), (64, True, 6), (2, False, 2), (16, False, 6)],
)
def test_scoring_jobs_on_one_machine_run_side_by_side(cores, shared, threads, monkeypatch):
    """The demo has ten of them, each of six files. On a cluster each has the cores of its own."""
    monkeypatch.chdir(ROOT)
    assert Study(resolve(demo())).scoring_threads(cores, shared) == threads


def test_the_only_scoring_job_has_all_cores(monkeypatch):
    monkeypatch.chdir(ROOT)
    alone = demo(grid={**demo()["grid"], "adapters": []}, baselines={}, exports={}, ablations={})
    assert Study(resolve(alone)).scoring_threads(6, True) == 6
