"""Starts a server and ends it: with the block that needs it, or with the process, however that ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import PromptpoolError
from ..runtime import guard
from .gguf_files import GGUF, convert_to_gguf
from .serving_engines import ServingEngine

READY = 600  # seconds until a server must answer
SECONDS_TO_END = 20  # seconds that it gets to end by itself


@contextmanager
def running(engine: ServingEngine, ready: float = READY, beside: Path | None = None) -> Iterator[str]:
    """The address (`.../v1`) of an engine that answers; it ends with the block, and all that it started.

    If this process is killed, the guard ends them. ready: seconds until it must answer. beside: the artifact that is
    being made, next to which the log and a converted model lie until the end, so that a killed job's are swept.
    Raises PromptpoolError with its last line if it ends by itself, or if it does not answer in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = {"dir": beside.parent, "prefix": f".{beside.name}.", "suffix": f".tmp{beside.suffix}"} if beside else {}
    with tempfile.TemporaryDirectory(**names) as room:
        command = list(engine.command)
        if engine.convert:
            file = convert_to_gguf(engine.convert, Path(room))
            if engine.keep:
                file = Path(shutil.move(file, engine.keep))
            command = [str(file) if word == GGUF else word for word in command]
        with open(Path(room) / "log", "w+", encoding="utf-8", errors="replace") as log:
            process = subprocess.Popen(
                [sys.executable, guard.__file__, *command, engine.port, str(port)],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **engine.environment},
            )  # fmt: skip
            try:
                _await(engine, process, log, port, time.monotonic() + ready)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                _end(process)


def _await(engine: ServingEngine, process: subprocess.Popen, log, port: int, until: float) -> None:
    while time.monotonic() < until:
        if process.poll() is not None:
            raise PromptpoolError(f"{engine.name} ended with {process.returncode}: {_last_line(log)}; look at its log")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, ValueError):
            pass
        time.sleep(0.2)
    raise PromptpoolError(
        f"{engine.name} did not answer in time; its last line: {_last_line(log)}; start it, give --url"
    )


def _last_line(log) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    faults = [line for line in lines if "error" in line.lower()]
    return (faults or lines or ["no output"])[-1][:300]


def _end(process: subprocess.Popen) -> None:
    """Ends the guard's group: the server first by its own way, then what is left of it."""
    for how, seconds in ((signal.SIGTERM, SECONDS_TO_END), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, how)
            process.wait(seconds)
    process.stdin.close()
