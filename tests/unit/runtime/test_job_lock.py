"""Two processes at one job's work: the later one waits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from promptpool.runtime.orphans import WAITING_LINE, alone

WORK = """
import os, sys, time
from pathlib import Path
from promptpool.runtime.orphans import alone

log, name, seconds = sys.argv[1:]
with alone(log):
    Path(log).write_text(str(os.getpid()))
    with open(Path(log).with_name("order"), "a") as order:
        print(name, "begins", file=order, flush=True)
        time.sleep(float(seconds))
        print(name, "ends", file=order, flush=True)
"""


@pytest.fixture
def work(tmp_path):
    def start(name: str, seconds: float) -> subprocess.Popen:
        command = [sys.executable, "-c", WORK, str(tmp_path / "job.log"), name, str(seconds)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    return start


def until(found) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def order(folder: Path) -> list[str]:
    return (folder / "order").read_text().splitlines() if (folder / "order").exists() else []


def test_a_new_runs_job_waits_for_one_that_was_left_though_its_log_is_gone(work, tmp_path):
    left = work("left", 2)
    until(lambda: order(tmp_path))
    (tmp_path / "job.log").unlink()  # as Snakemake does before it starts a job
    new = work("new", 0)
    told = new.communicate(timeout=60)[1]
    assert new.returncode == left.wait(60) == 0
    assert order(tmp_path) == ["left begins", "left ends", "new begins", "new ends"]
    assert told.count(WAITING_LINE) == 1
    assert not list(tmp_path.glob(".*.lock"))


def test_three_have_their_turns(work, tmp_path):
    jobs = [work(name, 0.3) for name in "abc"]
    assert [job.wait(60) for job in jobs] == [0, 0, 0]
    lines = order(tmp_path)
    assert sorted(lines[::2]) == ["a begins", "b begins", "c begins"]
    assert all(one.replace("begins", "ends") == other for one, other in zip(lines[::2], lines[1::2], strict=True))


def test_a_killed_job_leaves_no_lock(work, tmp_path):
    first = work("first", 60)
    until(lambda: order(tmp_path))
    pid = int((tmp_path / "job.log").read_text())
    os.kill(pid, 9)
    first.wait(60)
    with alone(tmp_path / "job.log"):
        pass
    assert not list(tmp_path.glob(".*.lock"))


def test_a_lock_follows_no_link(tmp_path):
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / ".job.log.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), alone(tmp_path / "job.log"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "kept"
