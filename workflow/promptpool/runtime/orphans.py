"""Lets one process at a time do a job's work, even if a killed Snakemake has left a job of it behind."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

WAITING_LINE = "a job of an earlier run is still at work on this; waiting for it to end"


@contextlib.contextmanager
def alone(log: str | Path, terminal: int = 2) -> Iterator[None]:
    """Holds a lock beside the job's log; does nothing on a file system without locks.

    The lock is not on the log itself, because Snakemake removes that before it starts a job.
    """
    path = Path(log).with_name(f".{Path(log).name}.lock")
    handle = _locked(path, lambda: os.write(terminal, f"{log}: {WAITING_LINE}\n".encode()))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # explicit, because a forked child may hold a copy of the handle
        os.close(handle)


def _locked(path: Path, tell: Callable[[], object]) -> int:
    """The open, locked file. `tell` is called once if the lock has to be waited for."""
    reported = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not reported:
                tell()
            reported = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # no locks on this file system
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # its holder removed the file when it ended
