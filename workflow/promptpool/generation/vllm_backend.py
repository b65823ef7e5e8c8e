"""The backend for large runs: vLLM's offline engine, in a worker process under its own interpreter.

vLLM pins other versions of torch and transformers than promptpool does, so they never share a process. They exchange
JSON lines over a pair of pipes (vllm_worker defines the messages). The worker's stderr is copied to this process's.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ..errors import PromptpoolError
from ..runtime.installation import checkout
from .backend import Progress, Request, WriterSetup, Written, encodable, one_line, unwritten, written
from .checks import check_writer, kept_marks, template_thinks
from .inside_vllm import seeded_draws, vllm_worker
from .watch import IN_A_ROW, Watch, thinking_advice

TAIL = 400  # lines of the worker's stderr that are kept, to report why it died
# Parts of vLLM's messages -> what they mean, and what to do. The first match is reported.
CAUSES = (
    (
        (
            "auto-fit max_model_len",
            "No available memory for the cache",
            "estimated maximum model length",
            "Available memory on node",
        ),
        "its KV cache does not fit into memory; lower backends.vllm.max_model_len, or raise kv_cache_gib (CPU) "
        "or gpu_memory (GPU)",
    ),
    (
        ("out of memory", "OutOfMemoryError", "can't allocate memory", "Free memory on device", "MemoryError"),
        "it ran out of memory; lower backends.vllm.gpu_memory, use a smaller model or raise tensor_parallel",
    ),
    (
        ("are not supported for now", "no vLLM implementation", "has no vLLM", "does not recognize this architecture"),
        "vLLM does not support this model; use backend transformers, or another model",
    ),
    (
        ("RevisionNotFoundError", "RepositoryNotFoundError", "is not a valid model identifier", "EntryNotFoundError"),
        "the hub has no such model or revision; fix the path or the revision in models",
    ),
    (("is a CPU build", "is a GPU build"), "fix the study's device, or build the other with make vllm"),
)


class VllmBackend:
    """Starts the worker when opened. Ends it and all its processes when closed, broken or garbage-collected."""

    def __init__(self, setup: WriterSetup):
        model, sampling, options = setup.model, setup.sampling, setup.options
        python = interpreter(options["python"])
        _, tokenizer = check_writer(model, setup.revision, setup.needs_chat)
        self.name = model
        self.thinks = setup.needs_chat and template_thinks(tokenizer)
        how = "use a model that does not think, or one whose chat template can switch it off"
        self.watch = Watch(thinking_advice(model, how, sampling["max_new_tokens"]), lasting=False)
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._worker = subprocess.Popen(
            [python, vllm_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=surroundings(os.environ),
            start_new_session=True,  # a process group of its own, so that it can be ended as a whole
        )
        self._relay = threading.Thread(target=self._pass_on, daemon=True)
        self._relay.start()
        settings = {name: value for name, value in options.items() if name != "python"}
        keys = ("max_new_tokens", "temperature", "top_p")
        settings |= {"model": model, "revision": setup.revision, "device": setup.device, "dtype": setup.dtype}
        settings |= {key: sampling[key] for key in keys}
        settings |= dict(zip(("marks", "dropped"), map(sorted, kept_marks(tokenizer)), strict=True))
        with self._ending_on_error():
            self._say({"open": settings})
            self.facts: dict = self._hear()["ready"]

    def write(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Written]:
        """A text for each request, in order. All go to the engine at once, and it refills its batch as texts finish.

        Until one text is written, the first IN_A_ROW requests go before the others.
        """
        out: list[Written | None] = [None] * len(requests)
        first = 0 if self.watch.proved else IN_A_ROW
        done = 0
        with self._ending_on_error():
            for part in (range(first)[: len(requests)], range(first, len(requests))):
                if not part:
                    continue
                self._say({"write": [[encodable(requests[i].text), requests[i].chat, requests[i].seed] for i in part]})
                left = len(part)
                while left:
                    for number, *facts in self._hear()["done"]:
                        out[part[number]] = self._written(requests[part[number]], *facts)
                        left -= 1
                        done += 1
                    if progress:
                        progress(done, len(requests))
        return out

    def _written(self, request: Request, text: str, prompt_tokens: int, tokens: int, finished: bool) -> Written:
        if not tokens and not finished:
            return unwritten(prompt_tokens)
        answer = written(text, request, prompt_tokens, tokens, finished, opens=self.thinks)
        self.watch.seen(answer, request.again)
        return answer

    def close(self) -> None:
        """Asks the worker to finish, waits a little, then ends all its processes."""
        with contextlib.suppress(OSError, ValueError):
            self._say({"close": True})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._worker.wait(vllm_worker.GRACE)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        self._relay.join(5)
        for pipe in (self._worker.stdin, self._worker.stdout, self._worker.stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    @contextlib.contextmanager
    def _ending_on_error(self):
        try:
            yield
        except BaseException:
            self._end()
            raise

    def _say(self, message: dict) -> None:
        try:
            self._worker.stdin.write(json.dumps(message).encode() + b"\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            if "close" not in message:
                raise self._death() from None

    def _hear(self) -> dict:
        line = self._worker.stdout.readline()
        message = json.loads(line) if line.endswith(b"\n") else None
        if message is None or "error" in message:
            raise self._death((message or {}).get("error"))
        return message

    def _death(self, said: str | None = None) -> PromptpoolError:
        """Why the worker died: its last message, or the signal that ended it, or the end of its stderr."""
        if said is None:
            # The engine's processes hold stderr open. End them to read it completely.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._worker.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._relay.join(5)
        code = self._worker.poll()
        reason = said or _last_error(self._tail)
        for signs, meaning in CAUSES:
            if any(sign in line for sign in signs for line in (said or "", *self._tail)):
                return PromptpoolError(f"{self.name}: vLLM stopped: {meaning} ({one_line(reason)})")
        if said is None and code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = ", most often the system's, for lack of memory" if name == "SIGKILL" else ""
            reason = f"its worker was ended by {name}{hint}; last on its stderr: {reason}"
        return PromptpoolError(f"{self.name}: vLLM stopped: {one_line(reason)}; this job's log has the full output")

    def _pass_on(self) -> None:
        for line in self._worker.stderr:
            text = line.decode(errors="replace")
            self._tail.append(text)
            sys.stderr.write(text)


def interpreter(given: str | None) -> str:
    """The interpreter that has vLLM: the configured one, else `.vllm` of the checkout or this folder, else this one.

    Raises PromptpoolError if none has it.
    """
    if given is not None:
        if not os.access(given, os.X_OK):
            raise PromptpoolError(
                f"backends.vllm.python: {given!r} is not an interpreter; fix the path, or remove it and run make vllm"
            )
        return given
    for folder in filter(None, (checkout(), Path.cwd())):
        if os.access(built := folder / ".vllm" / "bin" / "python", os.X_OK):
            return str(built)
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    raise PromptpoolError("backends.vllm: vLLM is not installed; run make vllm, or name an interpreter that has it")


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment: of this package what runs inside vLLM, no telemetry, one process if one is enough.

    The user's own settings for vLLM (VLLM_*) stay.
    """
    passed = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    passed["PYTHONPATH"] = str(Path(seeded_draws.__file__).parent)  # the worker imports it
    passed["PYTHONSAFEPATH"] = "1"  # else this package's modules would shadow the standard library's
    passed["VLLM_NO_USAGE_STATS"] = "1"
    # The engine shares a process with its feeder: on two cores twice as fast, and started in a third of the time.
    passed.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    # Keep OMP_NUM_THREADS, which the job has set. vLLM's own choice takes every core but one.
    passed.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return passed


def _last_error(lines: Sequence[str]) -> str:
    kept = [line for line in lines if line.strip()]
    faults = [line for line in kept if "Error" in line or "error" in line]
    return (faults or kept or ["nothing"])[-1]
