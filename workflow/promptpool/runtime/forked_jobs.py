"""Jobs of a run on one machine are forks of one process, which has imported torch, transformers and MTEB once.

Snakemake starts that process (`offer_forks`, fork_server.py) and a new interpreter for each job. The interpreter hands
its script over (`hand_over`), passes signals on, and ends as the fork ended. It runs the script itself if there is
nobody to hand it to. That is so on a cluster, beside a GPU (a process that has looked for one must not be forked), in
conda environments and containers, on other systems than Linux, and wherever PROMPTPOOL_FORKS is 0.
"""

import ast
import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .surroundings import set_surroundings

PLACE = "PROMPTPOOL_FORKS"  # where a run's jobs ask for a fork; 0 switches forks off
ANSWERED_WITHIN = 10.0  # seconds that a request, or the end, may take
NUMBER_BYTES = 8  # bytes of a number on the line
AMD_GPUS = Path("/dev/kfd")  # there if the machine has GPUs of AMD's
ENDS_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # passed on to the fork
SCORING = ("promptpool.scoring.scorer", "torch")  # MTEB imports torch when it scores
LATE_IMPORTS = {  # by stage: what its functions import, because not every call of them needs it
    "build_task": ("promptpool.tasks.mteb_tasks", "torch"),
    "draw": ("promptpool.figures.readers", "promptpool.figures.style"),
    "embed_checkpoint": ("peft",),
    "score_baseline": SCORING,
    "score_checkpoint": SCORING,
    "score_readouts": SCORING,
    "train_adapter": ("promptpool.training.rank",),
}
_FORK: dict[str, int] = {}  # in a fork: `threads`, how many its libraries have
_STARTED: list[tuple[subprocess.Popen, Path]] = []


def offer_forks(gpus: int, deployed: Sequence[str], system: str = sys.platform) -> None:
    """Starts the process that jobs of this Snakemake fork from, if they can. It ends with this process.

    gpus: how many GPUs jobs see; deployed: how Snakemake makes environments of their own for jobs (conda, apptainer).
    """
    if gpus or AMD_GPUS.exists() or deployed or system != "linux" or os.environ.get(PLACE):
        return
    folder = None
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            folder = Path(tempfile.mkdtemp(prefix="promptpool-"))  # no other user may enter it
            listening.bind(str(folder / "jobs"))
        except OSError:  # a full disk, or a path of more than 107 characters
            if folder is not None:
                folder.rmdir()
            return
        listening.listen(64)
        code = f"from promptpool.runtime.fork_server import main; main({listening.fileno()})"
        environ = set_surroundings({**os.environ}, threads=1)
        command = [sys.executable, "-P", "-c", code]
        # It ends when nobody holds the other end of its stdin any more.
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environ,
            pass_fds=[listening.fileno()],
        )
    _STARTED.append((server, folder))
    atexit.register(end_forks)
    os.environ[PLACE] = str(folder / "jobs")


def end_forks() -> None:
    """Ends what `offer_forks` started."""
    os.environ.pop(PLACE, None)
    while _STARTED:
        server, folder = _STARTED.pop()
        server.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(ANSWERED_WITHIN)
        shutil.rmtree(folder, ignore_errors=True)


def hand_over(script: str) -> None:
    """Runs `script` in a fork and ends this process as that ended (SystemExit); returns if there is nobody to fork."""
    place = os.environ.get(PLACE, "")
    if place in ("", "0"):
        return
    del os.environ[PLACE]  # for this script alone, not for what it starts
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(place)
            _ask(line, script)
            child = read_number(line)
        except (OSError, SyntaxError):
            return
        if child is None:
            return
        for number in ENDS_BY:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, _: _signal(child, number))
        status = read_number(line)
    if status is None:  # nobody would see how its fork ends
        _signal(child, signal.SIGKILL)
        raise SystemExit("the process that this job is a fork of was ended (out of memory?); run again")
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other effect
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    raise SystemExit(status)


def _ask(line: socket.socket, script: str) -> None:
    mask = os.umask(0)
    os.umask(mask)
    request = {
        "script": script,
        "arguments": sys.argv,
        "imports": imports_of(script),
        "environ": dict(os.environ),
        "folder": os.getcwd(),
        "umask": mask,
    }
    text = json.dumps(request).encode()
    socket.send_fds(line, [len(text).to_bytes(NUMBER_BYTES, "little")], [0, 1, 2])
    line.sendall(text)


def _signal(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def imports_of(script: str) -> list[str]:
    """The modules that a script names in its imports, and those that its stage's functions import."""
    nodes = ast.walk(ast.parse(Path(script).read_bytes()))
    named = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    stage = Path(script).stem.rpartition(".")[2]  # Snakemake copies a script to {random}.{stage}.py
    return [*named, *LATE_IMPORTS.get(stage, ())]


def read_number(line: socket.socket) -> int | None:
    """A number from a line; None if it ended."""
    found = line.recv(NUMBER_BYTES, socket.MSG_WAITALL)
    return int.from_bytes(found, "little", signed=True) if len(found) == NUMBER_BYTES else None


def begin_fork() -> None:
    """In a fork: notes that this process is one. Its libraries have one thread (`offer_forks`)."""
    _FORK["threads"] = 1


def is_fork() -> bool:
    """Whether this job is a fork: what it needs is imported already, by a process of one thread."""
    return bool(_FORK)


def use_threads(threads: int) -> None:
    """In a fork: as many threads as libraries of a new interpreter would read from the environment."""
    threads = min(threads, len(os.sched_getaffinity(0)))  # as libraries do when they start
    if _FORK["threads"] == threads:  # finding all libraries takes as long as many a job
        return
    from threadpoolctl import threadpool_limits

    _FORK["threads"] = threads
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
