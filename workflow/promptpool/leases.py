"""GPUs of this machine, lent to one job at a time, whoever started it.

Snakemake counts GPUs and does not say which. A job takes that many devices by locking a file for each, in one folder
of the machine, so that a second Snakemake or another user waits, too. A lock ends with its process, however that ends.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(tempfile.gettempdir()) / "promptpool-gpus"
VISIBLE = "CUDA_VISIBLE_DEVICES"
PAUSE = 1.0  # seconds between two looks at what is free


def visible_devices() -> list[str]:
    """The GPUs that a job started here may use: those of CUDA_VISIBLE_DEVICES, or all there are.

    CUDA reads its list up to the first entry that is no device, such as -1.
    """
    listed = os.environ.get(VISIBLE)
    if listed is None:
        numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
        return sorted(numbers, key=int)
    found: list[str] = []
    for entry in map(str.strip, listed.split(",")):
        if not entry or entry.startswith("-"):
            break
        found.append(entry)
    return found


@contextlib.contextmanager
def leased(gpus: int, jobs_per_gpu: int = 1) -> Iterator[list[str]]:
    """Holds `gpus` devices, waiting for them, and makes them all that CUDA sees in this process and its children.

    Where there are fewer, all there are; a job that wants none, or a machine that has none, sees none. jobs_per_gpu:
    so many jobs may hold one device at a time.
    """
    devices = visible_devices()
    wanted = min(gpus, len(devices))
    held: dict[str, int] = {}
    before = os.environ.get(VISIBLE)
    try:
        # All or none: two jobs that each hold half of what both want would wait for ever.
        while not _take(held, devices, wanted, jobs_per_gpu):
            time.sleep(PAUSE)
        os.environ[VISIBLE] = ",".join(held)
        yield list(held)
    finally:
        _give_back(held)
        os.environ.pop(VISIBLE, None)
        if before is not None:
            os.environ[VISIBLE] = before


def _take(held: dict[str, int], devices: list[str], wanted: int, jobs_per_gpu: int) -> bool:
    for place in range(jobs_per_gpu):  # the emptiest device first
        for device in devices:
            if len(held) < wanted and device not in held:
                handle = _lock(f"{device.replace('/', '_')}.{place}")
                if handle is not None:
                    held[device] = handle
    if len(held) < wanted:
        _give_back(held)
    return len(held) == wanted


def _lock(name: str) -> int | None:
    """The open lock file, or None where another process holds it."""
    FOLDER.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):  # another user's
        FOLDER.chmod(0o1777)
    handle = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    with contextlib.suppress(PermissionError):
        os.fchmod(handle, 0o666)
    return handle


def _give_back(held: dict[str, int]) -> None:
    for handle in held.values():
        fcntl.flock(handle, fcntl.LOCK_UN)  # said, for a forked child may hold a copy of the handle
        os.close(handle)
    held.clear()
