"""The tiny study through workflow/profiles/slurm on a real SLURM, in bad weather, ends with a local run's results."""

import time
from pathlib import Path

import one_machine
import pandas as pd
import pytest
import yaml
from submitting import finish, head, running, wait_for
from tiny_study import prepare_study, snakemake, study

pytestmark = pytest.mark.parametrize("cluster", [False], indirect=True, ids=["no-slurmdbd"], scope="module")
OUTAGE = 20  # seconds without a controller
# The first attempt is given less than Python and torch take.
STARVED = "embed_checkpoint:mem_mb=400 if attempt == 1 else 16000"


def small_study() -> dict:
    """One of everything that scores need: pairs that a model writes, an adapter, two states, a floor."""
    config = study()
    config["pairs"].pop("halves")
    config["adapters"]["tuned"] |= {"pairs": ["written"], "steps": [4]}
    config["grid"] |= {"prompts": ["eol", "cluster"], "poolings": ["mean", "last"]}
    config["baselines"].pop("random")
    for section in ("ablations", "attention", "exports"):
        config.pop(section)
    return config


@pytest.fixture(scope="module")
def weathered(cluster, tmp_path_factory):
    """The finished folder, the queue's history and what ran at a controller's outage; a job was cancelled, too."""
    folder = prepare_study(tmp_path_factory.mktemp("slurm") / "study")
    (folder / "study.yaml").write_text(yaml.safe_dump(small_study(), sort_keys=False))
    process = head(folder, "scores", "--set-resources", STARVED)
    outlived = wait_for(process, lambda: at_work(folder), "a script at work")
    one_machine.kill_controller()
    time.sleep(OUTAGE)
    one_machine.start_controller()
    (job, *_) = wait_for(process, lambda: running("make_pairs"), "make_pairs running")
    one_machine.answer("scancel", job["id"])
    finish(folder, process)
    return folder, one_machine.jobs(), outlived


def at_work(folder: Path) -> list[dict]:
    """The jobs that have come to their script: it has a log."""
    logs = folder / "results/tiny/logs"
    return [job for job in one_machine.jobs() if job["state"] == "RUNNING" and [*(logs / job["rule"]).rglob("*.log")]]


def slurm_log(folder: Path, job: dict) -> str:
    (log,) = (folder / ".snakemake/slurm_logs").rglob(f"{job['id']}.log")
    return log.read_text()


def states(history: list[dict], rule: str) -> list[str]:
    return [job["state"] for job in history if job["rule"] == rule]


def test_jobs_that_want_a_gpu_land_on_its_partition_and_others_do_not(weathered):
    _, history, _ = weathered
    on_gpu = {job["rule"] for job in history if job["partition"] == "gpu"}
    assert on_gpu == {"make_pairs", "train_adapter", "embed_checkpoint"}
    for job in history:
        assert (job["gpus"] == "gres:gpu:1") == (job["partition"] == "gpu"), job


def test_a_job_out_of_memory_is_tried_again_with_more(weathered):
    folder, history, _ = weathered
    tries = [job for job in history if job["rule"] == "embed_checkpoint"]
    starved = [job for job in tries if job["memory"] == "400M"]
    assert len(starved) == 2 and {job["state"] for job in starved} <= {"OUT_OF_MEMORY", "FAILED"}
    for job in starved:
        assert "memory limit" in slurm_log(folder, job)
    assert [job["state"] for job in tries if job["memory"] == "16000M"] == ["COMPLETED"] * 2


def test_a_cancelled_job_is_submitted_again(weathered):
    assert states(weathered[1], "make_pairs")[-2:] == ["CANCELLED", "COMPLETED"]


def test_what_ran_outlived_the_outage_and_only_what_was_about_to_start_is_done_again(weathered):
    folder, history, outlived = weathered
    assert outlived and {job["state"] for job in history if job["id"] in {one["id"] for one in outlived}} == {
        "COMPLETED"
    }
    for rule in {job["rule"] for job in history}:
        assert states(history, rule).count("COMPLETED") == (
            2 if rule in ("embed_checkpoint", "score_checkpoint") else 1
        ), rule
    for job in history:
        if job["state"] == "FAILED" and job["memory"] != "400M":
            assert "Unable to contact slurm controller" in slurm_log(folder, job), job


def test_the_scores_are_those_of_a_local_run(weathered, tmp_path):
    folder, *_ = weathered
    local = prepare_study(tmp_path / "study")
    answer = snakemake(local, "scores", config=small_study())
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    theirs, ours = (pd.read_parquet(one / "results/tiny/scores.parquet") for one in (folder, local))
    pd.testing.assert_frame_equal(theirs, ours)
