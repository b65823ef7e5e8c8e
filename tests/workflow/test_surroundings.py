"""What surrounds a run's jobs: GPUs that are pretended, and a container's program that is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_study
import yaml
from promptpool.runtime.gpu_leases import leased
from tiny_study import snakemake, snakemake_command, study

pytestmark = pytest.mark.workflow
TARGET = "embeddings"
WARNING = "No GPU is visible here"


def untuned() -> dict:
    """Two tasks under the base model, in two jobs that each want a GPU."""
    config = study()
    config["grid"] |= {"adapters": ["base"], "prompts": ["none"], "poolings": ["mean"], "jobs": "task"}
    config["tasks"]["more"] = {"source": "file", "path": "labelled.csv"}
    for section in ("ablations", "attention", "exports"):
        config.pop(section)
    return config


def job_logs(folder: Path) -> list[str]:
    """Each log's first line."""
    logs = (folder / "results/tiny/logs/embed_checkpoint").rglob("*.log")
    return [path.read_text().partition("\n")[0] for path in logs]


def test_without_a_gpu_every_job_runs_on_the_cpu_after_one_warning(prepare, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder = prepare(tmp_path / "study")
    answer = snakemake(folder, TARGET, config=untuned())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (answer.stdout + answer.stderr).count(WARNING) == 1
    assert job_logs(folder) == ["No GPU is visible to this job."] * 2


def test_a_job_waits_for_a_device_that_another_process_holds(prepare, tmp_path, monkeypatch):
    """Two jobs and one device, even where Snakemake is told that there are two."""
    device = f"pretended-{os.getpid()}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", device)
    folder = prepare(tmp_path / "study")
    # A pretended device: CUDA does not see it, and under `auto` a job that was lent it would end.
    (folder / "study.yaml").write_text(yaml.safe_dump({**untuned(), "device": "cpu"}))
    with leased(1), open(folder / "head.log", "w") as log:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", device)
        process = subprocess.Popen(
            [tiny_study.PYTHON, *snakemake_command(folder, TARGET, "--resources", "gpu=2")[1:]],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + 300
        while len(job_logs(folder)) < 2:
            assert time.monotonic() < end and process.poll() is None, (folder / "head.log").read_text()
            time.sleep(0.5)
        time.sleep(5)
        assert job_logs(folder) == [""] * 2, "both have started, and both wait"
    assert process.wait(timeout=300) == 0, (folder / "head.log").read_text()
    assert job_logs(folder) == [f"GPU {device}"] * 2
    assert WARNING not in (folder / "head.log").read_text()


def test_with_apptainer_every_job_runs_in_the_configs_image(prepare, tmp_path, monkeypatch):
    folder = prepare(tmp_path / "study")
    program = tmp_path / "programs/apptainer"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec echo apptainer version 1.3.4\necho "$@" >> {tmp_path}/calls\n'
        'for last; do :; done\nexec bash -c "$last"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    image = tmp_path / "promptpool.sif"
    image.touch()
    named = {**study(), "container": str(image)}
    answer = snakemake(folder, "tasks", "--sdm", "apptainer", "--apptainer-args", "--nv --bind /shared", config=named)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert "--nv --bind /shared" in call and f" {image} " in call and "build_task.py" in call
    kept = ("--rerun-triggers", "mtime", "params", "input", "code")  # docs/how-to/clusters.md: all but software-env
    again = snakemake(folder, "tasks", "-n", *kept, config=study())
    assert "Nothing to be done" in again.stdout + again.stderr
