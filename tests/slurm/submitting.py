"""The tiny study run on the cluster of one machine, through the shipped profile."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import one_machine
from tiny_study import REPOSITORY

PROFILE = REPOSITORY / "workflow/profiles/slurm"


def head(folder: Path, *arguments: str, profile: Path = PROFILE) -> subprocess.Popen:
    """Starts Snakemake on the cluster the way a user does; impatient, for its jobs are small. Output: head.log."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / "study.yaml"), "--workflow-profile", str(profile),
        "--config", "device=cpu",  # CUDA does not see the pretended GPUs, and under `auto` that ends a job
        "--slurm-init-seconds-before-status-checks", "5", "--jobs", "3", "--latency-wait", "10", *arguments,
    ]  # fmt: skip
    with open(folder / "head.log", "a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(folder: Path, process: subprocess.Popen, seconds: float = 1800) -> str:
    """Waits for a head process that must end well; what it printed."""
    try:
        code = process.wait(timeout=seconds)
    finally:
        process.kill()
    printed = (folder / "head.log").read_text()
    assert code == 0, printed[-6000:]
    return printed


def wait_for(process: subprocess.Popen, found: Callable[[], list], what: str, seconds: float = 600) -> list:
    """What `found` finds, once it finds something while the head process lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if result := found():
            return result
        time.sleep(0.5)
    process.kill()
    raise AssertionError(f"never saw {what}; the queue: {one_machine.jobs()}")


def running(rule: str) -> list[dict]:
    return [job for job in one_machine.jobs() if job["rule"] == rule and job["state"] == "RUNNING"]
