"""One process at a time at one job's work, also where a killed Snakemake has left a job of it behind."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

WAITING = "a job of an earlier run is still at this; waiting for its end"
LEFT = "the Snakemake that started this job is gone, and another one's job has done its work; nothing is done here"


@contextlib.contextmanager
def alone(log: str | Path, terminal: int = 2) -> Iterator[None]:
    """Holds a lock beside the job's log; on a file system that knows no locks, none.

    Not on the log itself: Snakemake removes that before it starts a job. A job that had to wait and whose own Snakemake
    is gone ends with SystemExit: its turn came after the new run's job, whose outputs others may be reading already.
    """
    path = Path(log).with_name(f".{Path(log).name}.lock")
    handle, waited = _locked(path, lambda: os.write(terminal, f"{log}: {WAITING}\n".encode()))
    try:
        if waited and not _has_snakemake():
            os.write(terminal, f"{log}: {LEFT}\n".encode())
            sys.exit(1)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            fcntl.flock(handle, fcntl.LOCK_UN)  # said, for a forked child may hold a copy of the handle
        os.close(handle)


def _locked(path: Path, tell) -> tuple[int, bool]:
    """The open, locked file, and whether it had to be waited for."""
    waited = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waited:
                tell()
            waited = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # no locks here
            return handle, waited
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle, waited
        os.close(handle)  # its holder took it away when it ended


def _has_snakemake() -> bool:
    """Whether a Snakemake is among the processes that this one descends from."""
    import psutil

    for parent in psutil.Process().parents():
        with contextlib.suppress(psutil.Error):
            if "snakemake" in {Path(word).name for word in parent.cmdline()[:3]}:
                return True
    return False
