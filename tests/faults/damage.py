"""What can be done to a job: its files damaged; no room, no memory, no permission."""

import contextlib
import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from promptpool.artifacts.files import STAMP, remove, sidecar_path

DAMAGES = ("flip", "truncate", "empty", "gone", "directory", "loop", "sidecar flip", "sidecar truncate")
OPEN_DAMAGES = ("empty", "gone", "directory", "loop")  # those that a file without a sidecar shows


def hurt(path: Path, how: str, draw: random.Random) -> Path | None:
    """Damages one artifact; the file that was damaged, None where there is nothing to damage."""
    if how.startswith("sidecar"):
        path, how = sidecar_path(path), how.removeprefix("sidecar ")
    elif path.is_dir():
        inside = [one for one in sorted(path.rglob("*")) if one.is_file() and one.name != STAMP and one.stat().st_size]
        path = draw.choice(inside)
    if not path.is_file() or not path.stat().st_size:
        return None
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif how == "truncate":
        path.write_bytes(content[: draw.randrange(len(content))])
    elif how == "empty":
        path.write_bytes(b"")
    else:  # what can't be read, also by root
        path.unlink()
        if how == "directory":
            (path / "deep").mkdir(parents=True)
        elif how == "loop":
            path.symlink_to(path.name)
    return path


def put_back(path: Path, tree: Path, reference: Path) -> None:
    remove(path)
    shutil.copy2(reference / path.relative_to(tree), path)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own in memory, under `folder`; False where this machine lets no one mount (root may)."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder], capture_output=True).returncode
    try:
        yield mounted == 0
    finally:
        if mounted == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, draw: random.Random) -> Path:
    """Takes all of a disk but some blocks; the file that holds it."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    left = draw.randrange(24) * state.f_frsize
    with open(filler, "wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, state.f_bavail * state.f_frsize - left)
    return filler


def no_room(draw: random.Random) -> Callable[[], None]:
    """No file can grow beyond some bytes, as a quota says it: where no disk can be made small."""
    most = int(10 ** draw.uniform(3.3, 5))  # the terminal is a file, too

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return limit


def no_memory(draw: random.Random) -> Callable[[], None]:
    """Some megabytes more than are taken now, and no more."""
    more = int(2 ** draw.uniform(18, 27))

    def limit() -> None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, taken + more))

    return limit


def no_permission(paths: list[Path]) -> Callable[[], None]:
    """The files have no permissions, and the process no capability to pass over that (root has)."""

    def drop() -> None:
        for path in paths:
            path.chmod(0)
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc.capset(header, (ctypes.c_uint32 * 6)())

    return drop
