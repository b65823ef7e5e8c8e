"""A job's surroundings: its log file, its threads, its verified inputs, and errors as one line."""

import contextlib
import gc
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..artifacts.integrity import begin, require_readable, seal, verify
from ..errors import PromptpoolError
from .forked_jobs import hand_over, is_fork, use_threads
from .gpu_leases import leased
from .orphans import alone
from .runs import require_latest
from .surroundings import set_surroundings

# New objects before Python looks for cycles. An import of torch and transformers makes 370,000 that all stay, and
# with Python's own 700 the search takes a sixth of its time.
SEARCHED_AFTER = 10_000
# How libraries report that the machine is out of memory, if they do not raise MemoryError.
NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "can't start new thread",
    "failed to map segment",
    # A SystemError: Python's own code, or a library's, that had no memory left for an error either.
    "error return without exception set",
    "without setting an exception",
)


def job_of(
    snakemake: Any, *, online: bool = False, reads: Sequence[str] | None = None, writes: Sequence[str] | None = None
) -> Any:
    """`job` for a rule's script: with the rule's log, threads, devices and files. Only files in the run's results are
    verified and sealed. A user's own files, and sidecars, are not.

    If this process can hand the script over to a fork (runtime/forked_jobs.py), it does, and ends as that ends.
    reads, writes: replace the rule's inputs and outputs.
    """
    if not online:  # a fork's libraries were imported without the hub
        hand_over(sys.argv[0])
    results = "/".join(str(snakemake.log[0]).split("/")[:2]) + "/"

    def artifacts(paths: Iterable) -> list[str]:
        return [str(p) for p in paths if str(p).startswith(results) and not str(p).endswith(".meta.json")]

    user_files = [str(path) for path in snakemake.input if not str(path).startswith(results)]
    return job(
        snakemake.log[0],
        snakemake.threads,
        online=online,
        gpus=snakemake.resources.get("gpu", 0),
        jobs_per_gpu=snakemake.config.get("jobs_per_gpu", 1),
        reads=artifacts(snakemake.input if reads is None else reads),
        writes=artifacts(snakemake.output if writes is None else writes),
        given=user_files,
    )


@contextmanager
def job(
    log: str,
    threads: int = 1,
    *,
    online: bool = False,
    gpus: int = 0,
    jobs_per_gpu: int = 1,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    given: Sequence[str] = (),
) -> Iterator[None]:
    """Runs a script's one call with stdout and stderr in `log`, on `threads` threads.

    It sees `gpus` devices, which at most `jobs_per_gpu` jobs share, and waits for them. Only a job that downloads is
    `online`; the hub is disabled for all others.
    reads: the artifacts that the job reads, each verified against its sidecar first. writes: those that it makes, each
    of which has a sidecar afterwards. given: a user's files that it reads, each checked before the job starts.
    If a job of a killed Snakemake is still at the same work, this one waits for it. If this job is itself a leftover
    and a later run has made its files, it does nothing. A PromptpoolError, and a fault of the machine (a full disk,
    no memory, an unreadable file), is printed as one line to the log and to the terminal, and ends the job.
    """
    started = time.time()
    set_surroundings(os.environ, threads, online=online)
    if is_fork():
        use_threads(threads)
    gc.set_threshold(SEARCHED_AFTER)
    warnings.simplefilter("ignore", FutureWarning)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with alone(log, terminal), open(log, "w", encoding="utf-8") as handle:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1)
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            require_latest(writes)
            begin(writes)
            verify(reads)
            for path in given:
                require_readable(path)
            with leased(gpus, jobs_per_gpu) as devices:
                if gpus:  # on a cluster nothing else reports it
                    print(f"GPU {', '.join(devices)}" if devices else "No GPU is visible to this job.", flush=True)
                yield
            seal(writes, reads, started)
        except Exception as error:
            line = as_line(error, writes)
            if line is None:
                with contextlib.suppress(OSError):  # the terminal gets it too, and Snakemake names the log
                    traceback.print_exc()
                raise
            # On a full disk the log takes nothing either.
            with contextlib.suppress(OSError):
                print(f"Error: {line}", file=sys.stderr, flush=True)
            os.write(terminal, f"Error: {line}\n".encode(errors="backslashreplace"))
            raise SystemExit(1) from None
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os.dup2(kept, 1)
            os.dup2(terminal, 2)
            os.close(kept)
            os.close(terminal)


def as_line(error: BaseException, writes: Sequence[str] = ()) -> str | None:
    """An error as one line for the user; None for a fault of promptpool's own, which needs its traceback."""
    work = str(writes[0]) if writes else "this job"
    if isinstance(error, PromptpoolError):
        return " ".join(str(error).split("\n"))
    message = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(sign in message.lower() for sign in NO_MEMORY):
        return f"{work}: out of memory; free some, or give the job more ({message[:160]})"
    if "trust_remote_code" in message:  # transformers says this of a model without a class of its own
        return f"{work}: not made: {error!s:.80}...: no code of a base model's repository is run (see SECURITY.md)"
    if isinstance(error, OSError) and error.filename is not None:
        reason = os.strerror(error.errno) if error.errno else message
        return f"{os.fsdecode(error.filename)}: {reason}; fix that and run again ({work} was not made)"
    if isinstance(error, OSError) or "os error " in message:  # from a library that gives only the reason
        return f"{work}: not made: {message[:300]}; fix that and run again"
    return None
