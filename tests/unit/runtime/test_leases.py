"""GPUs are lent to one job at a time. These are pretended: a list in CUDA_VISIBLE_DEVICES is all it takes."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import pick_device
from promptpool.runtime import gpu_leases as leases
from promptpool.runtime.gpu_leases import leased, visible_devices
from promptpool.runtime.job import job
from promptpool.study.preflight import require_gpu

fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch) -> Path:
    """A machine of two GPUs."""
    monkeypatch.setattr(leases, "FOLDER", tmp_path / "locks")
    monkeypatch.setattr(leases, "PAUSE", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    return tmp_path


@pytest.mark.parametrize(
    ("listed", "devices"),
    [("0,1", ["0", "1"]), ("3", ["3"]), ("", []), ("-1", []), ("1,-1,0", ["1"]), ("a, b", ["a", "b"])]
)  # fmt: skip
def test_devices_are_read_as_cuda_reads_them(monkeypatch, listed, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_devices() == devices


def test_a_job_sees_the_devices_it_holds_and_no_other():
    for gpus, seen in ((1, "0"), (2, "0,1"), (3, "0,1")):
        with leased(gpus):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_job_that_asks_for_none_sees_none():
    with leased(0):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_without_a_gpu_nothing_waits(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with leased(1) as devices:
        assert devices == []


def hold(machine: Path, number: int, gpus: int, jobs_per_gpu: int) -> None:
    with leased(gpus, jobs_per_gpu) as devices:
        start = time.monotonic()
        time.sleep(0.15)
        (machine / f"{number}.held").write_text(f"{start} {time.monotonic()} {' '.join(devices)}")


def most_at_once(machine: Path, wants: list[int]) -> int:
    """Runs a process for each want, all at once; the most that ever held one device together."""
    processes = [fork.Process(target=hold, args=(machine, n, gpus, 1)) for n, gpus in enumerate(wants)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    spans = []
    for path in machine.glob("*.held"):
        start, end, *devices = path.read_text().split()
        spans += [(device, float(start), float(end)) for device in devices]
    assert len(spans) == sum(wants)
    return max(sum(d == device and s <= start < e for d, s, e in spans) for device, start, _ in spans)


def test_no_two_jobs_share_a_device(machine):
    assert most_at_once(machine, [1, 1, 1, 1, 1]) == 1


def test_jobs_that_want_several_devices_do_not_wait_for_each_other_for_ever(machine):
    assert most_at_once(machine, [2, 1, 2, 1, 2]) == 1


@pytest.mark.parametrize(("jobs_per_gpu", "enters"), [(1, False), (2, True)])
def test_a_second_job_enters_a_held_device_only_where_it_is_told_to(machine, monkeypatch, jobs_per_gpu, enters):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    second = fork.Process(target=hold, args=(machine, 0, 1, jobs_per_gpu))
    with leased(1, jobs_per_gpu):
        second.start()
        second.join(timeout=60 if enters else 1)
        assert (second.exitcode == 0) == enters
    second.join(timeout=60)
    assert second.exitcode == 0


@pytest.mark.parametrize(("other", "enters"), [("7", False), ("8", True)])
def test_allocations_that_count_their_devices_from_0_do_not_wait_for_each_other(machine, monkeypatch, other, enters):
    """A scheduler gave each its own; jobs inside one still do."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with leased(1):
        monkeypatch.setenv("SLURM_JOB_ID", other)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        second = fork.Process(target=hold, args=(machine, 0, 1, 1))
        second.start()
        second.join(timeout=60 if enters else 1)
        assert (second.exitcode == 0) == enters
    second.join(timeout=60)
    assert second.exitcode == 0


def test_an_allocation_that_was_given_no_devices_shares_the_machines(machine, monkeypatch):
    """A scheduler that counts no GPUs says of none whose it is."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(leases, "visible_devices", lambda: ["0"])
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with leased(1):
        assert [path.name for path in leases.FOLDER.iterdir()] == ["0.0"]


def test_a_lock_leaves_no_file(machine):
    with leased(2):
        assert len(list(leases.FOLDER.iterdir())) == 2
    assert not list(leases.FOLDER.iterdir())


def test_a_lock_is_not_taken_through_a_link(machine):
    """Which another user could have laid to a file of this one."""
    leases.FOLDER.mkdir()
    (machine / "mine").touch(mode=0o600)
    (leases.FOLDER / "0.0").symlink_to(machine / "mine")
    with pytest.raises(OSError), leased(1):
        pass
    assert (machine / "mine").stat().st_mode & 0o777 == 0o600


def hold_for_ever(ready: object) -> None:
    with leased(2):
        ready.set()
        time.sleep(600)


def test_a_killed_job_gives_its_devices_back():
    ready = fork.Event()
    process = fork.Process(target=hold_for_ever, args=(ready,))
    process.start()
    assert ready.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with leased(2) as devices:
        assert devices == ["0", "1"]


def test_a_forked_child_that_outlives_the_lease_holds_no_device(machine):
    """As a data loader's worker may, for a moment: it has a copy of the open lock file."""
    with leased(2):
        child = fork.Process(target=time.sleep, args=(600,))
        child.start()
    try:
        next_job = fork.Process(target=hold, args=(machine, 0, 2, 1))
        next_job.start()
        next_job.join(timeout=60)
        assert next_job.exitcode == 0 and child.is_alive()
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize(
    ("visible", "gpus", "told"),
    [("0,1", 1, "GPU 0\n"), ("0,1", 3, "GPU 0, 1\n"), ("", 1, "No GPU is visible to this job.\n"), ("0,1", 0, "")],
)
def test_a_script_says_in_its_log_which_device_it_has(machine, monkeypatch, capsys, visible, gpus, told):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with capsys.disabled(), job(str(machine / "log"), gpus=gpus):
        pass
    assert (machine / "log").read_text() == told


def test_a_job_that_insists_on_a_gpu_and_sees_none_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(PromptpoolError, match="this job sees no GPU"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


def test_no_gpu_is_one_warning_and_an_error_where_the_config_insists():
    assert require_gpu(2, "auto") is None and require_gpu(0, "cpu") is None
    assert require_gpu(0, "auto") == "No GPU is visible here: every job runs on the CPU."
    with pytest.raises(PromptpoolError, match="device: cuda, and no GPU is visible here"):
        require_gpu(0, "cuda")
