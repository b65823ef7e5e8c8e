"""One process at a time at one job's work, also where a killed Snakemake has left a job of it behind."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

WAITING_LINE = "a job of an earlier run is still at this; waiting for its end"


@contextlib.contextmanager
def alone(log: str | Path, terminal: int = 2) -> Iterator[None]:
    """Holds a lock beside the job's log; on a file system that knows no locks, none.

    Not on the log itself: Snakemake removes that before it starts a job.
    """
    path = Path(log).with_name(f".{Path(log).name}.lock")
    handle = _locked(path, lambda: os.write(terminal, f"{log}: {WAITING_LINE}\n".encode()))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # said, for a forked child may hold a copy of the handle
        os.close(handle)


def _locked(path: Path, tell: Callable[[], object]) -> int:
    """The open, locked file; `tell` is called once, if it has to be waited for."""
    told = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                tell()
            told = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # no locks here
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # its holder took it away when it ended
