"""The process that a run's jobs are forks of (forked_jobs.py).

It is empty when it starts, and imports what a script imports when that script first asks for a fork. So a run imports
no more than its jobs would. It ends when the process that started it has ended, and the last fork.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import warnings
from pathlib import Path

from .forked_jobs import ANSWERED_WITHIN, NUMBER_BYTES, begin_fork


def main(descriptor: int) -> None:
    """Serves at a socket that listens. In a fork it runs the script that was asked for, and ends as that ends."""
    script = _Script()
    listening = socket.socket(fileno=descriptor)
    folder = Path(listening.getsockname()).parent
    warnings.simplefilter("ignore", FutureWarning)
    request = serve(listening)
    if request is not None:
        script.run(request)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # without taking apart what was imported


def serve(listening: socket.socket) -> dict | None:
    """Forks for each request until stdin ends, and waits for the forks. Returns the request in a fork, None at the end.

    A fork is killed if the process that asked for it is, as that would have ended the job if it had not been a fork.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all processes; it is meant for jobs
    signal.signal(signal.SIGCHLD, lambda *_: None)
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    jobs: dict[socket.socket, int] = {}
    serving = True
    while serving or jobs:
        ready, _, _ = select.select([*([0, listening] if serving else []), woken, *jobs], [], [])
        if woken in ready:
            os.read(woken, 1 << 12)
            _report_ends(jobs)
        for line in [line for line in jobs if line in ready]:
            os.kill(jobs.pop(line), signal.SIGKILL)
            line.close()
        if 0 in ready:
            serving = False
        elif listening in ready:
            serving, request = _answered(listening.accept()[0], jobs)
            if request is not None:
                signal.set_wakeup_fd(-1)
                for descriptor in (woken, waker):
                    os.close(descriptor)
                for end in (listening, *jobs):
                    end.close()
                return request
        if not serving:
            listening.close()  # who asks from now on runs its script itself
    return None


def _answered(line: socket.socket, jobs: dict[socket.socket, int]) -> tuple[bool, dict | None]:
    """Forks for one request. Returns whether this process can go on, and in the fork the request.

    If there can be no fork, the line is closed, and who asked runs its script itself.
    """
    serving, request = True, _received(line)
    if request is not None:
        serving = _imported(request["imports"])
        if serving and _forked(line, jobs):
            line.close()
            return True, request
        for descriptor in request["descriptors"]:
            os.close(descriptor)
    if line not in jobs:
        line.close()
    return serving, None


def _received(line: socket.socket) -> dict | None:
    line.settimeout(ANSWERED_WITHIN)
    try:
        head, descriptors, *_ = socket.recv_fds(line, NUMBER_BYTES, 3)
        with line.makefile("rb") as coming:
            text = coming.read(int.from_bytes(head, "little"))
        return {**json.loads(text), "descriptors": descriptors}
    except (OSError, ValueError):
        return None


def _imported(names: list[str]) -> bool:
    """Imports modules. False if one can't be: it would be half there, so a process without it must try again."""
    gc.disable()
    try:
        with open(os.devnull, "w") as silent, contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent):
            for name in names:
                importlib.import_module(name)
    except BaseException:  # the job itself meets it again, and says what is wrong
        return False
    finally:
        gc.enable()
    gc.freeze()  # what is imported stays: a fork that looks for cycles in it would copy it
    return True


def _forked(line: socket.socket, jobs: dict[socket.socket, int]) -> bool:
    """Whether this is the fork. The other process notes it and sends its number; without memory there is none."""
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        return True
    jobs[line] = child
    _send(line, child)
    return False


def _report_ends(jobs: dict[socket.socket, int]) -> None:
    """Sends the exit status of each fork that has ended. Nobody waits for that of a fork that was killed here."""
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                return
            for line in [line for line, child in jobs.items() if child == ended]:
                _send(line, os.waitstatus_to_exitcode(status))
                del jobs[line]
                line.close()


def _send(line: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        line.sendall(number.to_bytes(NUMBER_BYTES, "little", signed=True))


class _Script:
    """Runs a script as a new interpreter would, and ends the process after the last of what that does at its end.

    Only the modules are not taken apart: that takes longer than many a job.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.on_interrupt = signal.getsignal(signal.SIGINT)
        atexit.register(self._end)  # the first to be registered is the last to be called

    def run(self, request: dict) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, self.on_interrupt)
        for number, descriptor in enumerate(request["descriptors"]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(request["folder"])
        os.umask(request["umask"])
        os.environ.clear()
        os.environ.update(request["environ"])
        sys.argv = request["arguments"]
        sys.path.insert(0, str(Path(request["script"]).parent))
        begin_fork()
        self.status = 1
        try:
            runpy.run_path(request["script"], run_name="__main__")
            self.status = 0
        except KeyboardInterrupt:
            self.status = -signal.SIGINT
            raise
        except SystemExit as end:
            self.status = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
            raise

    def _end(self) -> None:
        if self.status is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        if self.status < 0:
            signal.signal(-self.status, signal.SIG_DFL)
            os.kill(os.getpid(), -self.status)
        os._exit(self.status & 0xFF)
