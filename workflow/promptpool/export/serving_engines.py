"""Starts the servers that this machine has for an export: vLLM, Text Embeddings Inference, llama.cpp."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import PromptpoolError
from ..generation.vllm_backend import interpreter

READY = 600  # seconds until a server must answer
SECONDS_TO_END = 20  # seconds that it gets to end by itself
LLAMA_POOLINGS = {"last": "last", "eos": "last", "mean": "mean"}


@dataclass(frozen=True)
class ServingEngine:
    """A server's command, without its port. shown: as a user types it, without this machine's directories."""

    name: str
    command: Sequence[str]
    port: str
    environment: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"

    @property
    def shown(self) -> str:
        return " ".join([Path(self.command[0]).name, *self.command[1:], self.port, "8000"])


def engines(folder: Path, pooling: str, gguf: str | None) -> tuple[list[ServingEngine], list[str]]:
    """The engines that can be started for an export, and a line for each that cannot, which says why."""
    found, lacking = [], []
    for build in (_vllm, _tei, _llama):
        one = build(folder, pooling, gguf)
        (lacking if isinstance(one, str) else found).append(one)
    return found, lacking


def _vllm(folder: Path, pooling: str, _: str | None) -> ServingEngine | str:
    try:
        python = interpreter(None)
    except PromptpoolError:
        return "vLLM: not installed here (`make vllm`)"
    if (folder / "adapter_config.json").is_file():
        return "vLLM: cannot load an adapter beside its base model; export it with `merged: true`"
    if pooling not in LLAMA_POOLINGS:
        return f"vLLM: does not know the pooling {pooling}, and would pool something else"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--runner", "pooling"]
    command += ["--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1"]
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}
    return ServingEngine("vLLM", command, "--port", quiet)


def _tei(folder: Path, _: str, __: str | None) -> ServingEngine | str:
    binary = shutil.which("text-embeddings-router")
    if not binary:
        return "Text Embeddings Inference: no text-embeddings-router in PATH"
    command = [binary, "--model-id", str(folder), "--dtype", "float32", "--hostname", "127.0.0.1"]
    return ServingEngine("Text Embeddings Inference", command, "--port")


def _llama(_: Path, pooling: str, gguf: str | None) -> ServingEngine | str:
    binary = shutil.which("llama-server")
    if not binary:
        return "llama.cpp: no llama-server in PATH"
    if gguf is None:
        return "llama.cpp: convert the export with its convert_hf_to_gguf.py, and give the file with --gguf"
    if not Path(gguf).is_file():
        raise PromptpoolError(f"serve-check: {gguf}: no such file; give the converted model with --gguf")
    if pooling not in LLAMA_POOLINGS:
        return f"llama.cpp: does not know the pooling {pooling}"
    command = [binary, "-m", gguf, "--embeddings", "--pooling", LLAMA_POOLINGS[pooling], "--host", "127.0.0.1"]
    return ServingEngine("llama.cpp", command, "--port", dtype="the file's")


@contextmanager
def running(engine: ServingEngine, ready: float = READY) -> Iterator[str]:
    """The address (`.../v1`) of an engine that answers; it ends with the block, and all that it started.

    Raises PromptpoolError with its last line if it ends by itself, or if it does not answer in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [*engine.command, engine.port, str(port)], stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
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
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(SECONDS_TO_END)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
