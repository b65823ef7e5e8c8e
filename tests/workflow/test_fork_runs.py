"""A run's jobs are forks of one process, what they write is what new interpreters write, and kills leave nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from promptpool.artifacts.files import sidecar_path
from promptpool.artifacts.integrity import read_sealed
from promptpool.runtime.forked_jobs import PLACE
from tiny_study import snakemake, snakemake_command

pytestmark = pytest.mark.workflow
EMBEDDED, SCORED = (f"results/tiny/{stage}/small/base/all.json" for stage in ("embeddings", "scores"))


def test_the_jobs_of_a_whole_run_were_forks_of_one_process(finished):
    lines = (finished / "reached.tsv").read_text(encoding="utf-8").splitlines()
    entered = Counter(tuple(line.split("\t")) for line in lines)
    assert entered["", "runtime.fork_server", "_Script.run"] >= 40
    assert entered["", "runtime.fork_server", "serve"] == 1


def test_beside_a_gpu_jobs_are_no_forks(prepare, tmp_path, reaching, monkeypatch):
    """A pretended one, which these jobs do not ask for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "pretended")
    folder, table = prepare(tmp_path / "study"), tmp_path / "reached.tsv"
    answer = snakemake(folder, "tasks", PLAIN_PYTHON="1", **{PLACE: ""}, **reaching(table))
    assert answer.returncode == 0, answer.stderr
    entered = {tuple(line.split("\t")) for line in table.read_text(encoding="utf-8").splitlines()}
    assert ("build_task", "tasks.build_task", "build_task") in entered
    assert not [name for _, module, name in entered if module == "runtime.fork_server"]


def test_new_interpreters_write_what_forks_write(prepare, tmp_path, finished):
    """On a cluster, beside a GPU and on other systems than Linux jobs are no forks."""
    folder = prepare(tmp_path / "study")
    answer = snakemake(folder, SCORED, PLAIN_PYTHON="1", **{PLACE: "0"})
    assert answer.returncode == 0, answer.stderr
    require_same(folder, finished)


def test_a_run_that_was_interrupted_and_killed_leaves_no_process_and_ends_as_any_other(prepare, tmp_path, finished):
    folder = prepare(tmp_path / "study")
    run = begun(folder, "embed_checkpoint")
    os.killpg(run.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
    assert run.wait(120) != 0
    await_end_of(run.pid)
    assert not (folder / EMBEDDED).exists()
    run = begun(folder, "score_checkpoint")
    run.kill()
    run.wait()
    await_end_of(run.pid)  # the job ends its work
    assert snakemake(folder, "--unlock").returncode == 0
    answer = snakemake(folder, SCORED, "--rerun-incomplete")
    assert answer.returncode == 0, answer.stderr
    require_same(folder, finished)


def begun(folder: Path, rule: str) -> subprocess.Popen:
    """A run in a session of its own, in which a job of a rule has begun."""
    command = [sys.executable, *snakemake_command(folder, SCORED, "--rerun-incomplete")[1:]]
    environ = {**os.environ, PLACE: ""}
    run = subprocess.Popen(
        command,
        env=environ,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a script's background ignores it
    )
    log, until = folder / f"results/tiny/logs/{rule}/small/base/all.log", time.monotonic() + 300
    while not log.exists():
        assert time.monotonic() < until and run.poll() is None
        time.sleep(0.01)
    return run


def await_end_of(group: int) -> None:
    until = time.monotonic() + 120
    while left := [number for number in os.listdir("/proc") if number.isdigit() and group_of(int(number)) == group]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def group_of(process: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process)
    return None


def require_same(folder: Path, finished: Path) -> None:
    """What a run has written is byte for byte what the whole run wrote."""
    results = folder / "results"
    written = [path.relative_to(folder) for kind in ("parquet", "safetensors") for path in results.rglob(f"*.{kind}")]
    assert len(written) >= 6
    for path in written:
        assert digest_of(folder / path) == digest_of(finished / path), path


def digest_of(path: Path) -> str:
    return read_sealed(sidecar_path(path))["digest"]
