"""GPUs of this machine, lent to one job at a time, whoever started it.

Snakemake counts GPUs but does not say which to use. A job takes devices by locking a file for each, in one folder of
the machine. So a second Snakemake, or another user, waits too. A lock ends with its process, however that ends.

The GPUs that a cluster's scheduler assigns to an allocation are its own: only jobs inside it wait for each other.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a dry run needs nothing but Snakemake
    from filelock import FileLock

FOLDER = Path(tempfile.gettempdir()) / "promptpool-gpus"
VISIBLE = "CUDA_VISIBLE_DEVICES"
LENT = "PROMPTPOOL_LENT_GPUS"  # the devices a job holds; a job that loses them must fail, not go on
SHARED = "PROMPTPOOL_JOBS_PER_GPU"  # how many jobs may be on each of them
DEVICES = Path("/dev")
PAUSE = 1.0  # seconds between two checks for a free device
# An allocation's name, by scheduler. On nodes that hide other devices, every allocation counts its own from 0.
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")


def visible_devices() -> list[str]:
    """The GPUs that a job started here may use: those of CUDA_VISIBLE_DEVICES, or all there are.

    CUDA reads its list up to the first entry that is not a device, such as -1.
    """
    listed = os.environ.get(VISIBLE)
    if listed is None:
        # CUDA counts visible devices from 0: in a container that holds only nvidia3, that is its device 0.
        return [str(number) for number, _ in enumerate(DEVICES.glob("nvidia[0-9]*"))]
    found: list[str] = []
    for entry in map(str.strip, listed.split(",")):
        if not entry or entry.startswith("-"):
            break
        found.append(entry)
    return found


@contextlib.contextmanager
def leased(gpus: int, jobs_per_gpu: int = 1) -> Iterator[list[str]]:
    """Waits for `gpus` devices and holds them. CUDA sees no others, in this process and its children.

    If there are fewer, it takes all there are. A job that wants none, or a machine without any, sees none.
    jobs_per_gpu: how many jobs may hold one device at a time.
    """
    devices = visible_devices()
    wanted = min(gpus, len(devices))
    held: dict[str, FileLock] = {}
    before = os.environ.get(VISIBLE)
    prefix = _allocation() if before is not None else ""
    try:
        # All or none: two jobs that each hold half of what both need would wait for ever.
        while not _take(held, devices, wanted, jobs_per_gpu, prefix):
            time.sleep(PAUSE)
        os.environ[VISIBLE] = os.environ[LENT] = ",".join(held)
        os.environ[SHARED] = str(jobs_per_gpu)
        yield list(held)
    finally:
        _give_back(held)
        os.environ.pop(VISIBLE, None)
        os.environ.pop(LENT, None)
        os.environ.pop(SHARED, None)
        if before is not None:
            os.environ[VISIBLE] = before


def _allocation() -> str:
    """The prefix of the names of this allocation's locks; empty outside any allocation."""
    named = [f"{name}={os.environ[name]}." for name in ALLOCATIONS if os.environ.get(name)]
    return "".join(named[:1])


def _take(held: dict[str, "FileLock"], devices: list[str], wanted: int, jobs_per_gpu: int, prefix: str) -> bool:
    for place in range(jobs_per_gpu):  # the emptiest device first
        for device in devices:
            if len(held) < wanted and device not in held:
                path = FOLDER / f"{prefix}{device}.{place}".replace("/", "_")
                if lock := _lock(path):
                    held[device] = lock
    if len(held) < wanted:
        _give_back(held)
    return len(held) == wanted


def _lock(path: Path) -> "FileLock | None":
    """The held lock, or None if another process holds it."""
    from filelock import FileLock, Timeout

    FOLDER.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):  # another user's
        FOLDER.chmod(0o1777)
    lock = FileLock(path, mode=0o666)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _give_back(held: dict[str, "FileLock"]) -> None:
    for lock in held.values():
        with contextlib.suppress(OSError):  # another user's file: it stays and serves the next job
            os.unlink(lock.lock_file)
        lock.release()
    held.clear()
