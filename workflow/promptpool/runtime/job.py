"""One job's surroundings: its log file, its threads, what it reads verified, and errors as one line."""

import contextlib
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..artifacts.integrity import begin, require_readable, seal, verify
from ..errors import PromptpoolError
from .gpu_leases import leased
from .orphans import alone
from .runs import require_latest

# How libraries say that the machine's memory is at its end, where they have no MemoryError.
NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "can't start new thread",
    "failed to map segment",
)


def job_of(
    snakemake: Any, *, online: bool = False, reads: Sequence[str] | None = None, writes: Sequence[str] | None = None
) -> Any:
    """`job` as a rule's script knows it: its log, threads, devices and files. Of these, only what lies in the run's
    results is verified and sealed: a user's own files are left alone, and a sidecar has none of its own.

    reads, writes: in place of the rule's inputs and outputs.
    """
    results = "/".join(str(snakemake.log[0]).split("/")[:2]) + "/"

    def artifacts(paths: Iterable) -> list[str]:
        return [str(p) for p in paths if str(p).startswith(results) and not str(p).endswith(".meta.json")]

    own = [str(path) for path in snakemake.input if not str(path).startswith(results)]
    return job(
        snakemake.log[0],
        snakemake.threads,
        online=online,
        gpus=snakemake.resources.get("gpu", 0),
        jobs_per_gpu=snakemake.config.get("jobs_per_gpu", 1),
        reads=artifacts(snakemake.input if reads is None else reads),
        writes=artifacts(snakemake.output if writes is None else writes),
        given=own,
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

    It sees `gpus` devices that no more than `jobs_per_gpu` jobs share, and waits for them.
    Only a job that fetches is `online`; for all others the hub is switched off, so that none asks it in passing.
    reads: the artifacts that the job reads, each verified against its sidecar first; writes: those that it makes, each
    of which has a sidecar afterwards; given: a user's files that it reads, each looked at before it starts. A job that
    is still at the same work, left over from a killed Snakemake, is waited for; where this one is what was left over,
    and a later run has made its files, it does nothing. A PromptpoolError, and what the machine refuses (a full disk,
    no memory, a file that can't be read), is printed as one line, to the log and to the terminal, and ends the job.
    """
    started = time.time()
    # Read by the numeric libraries when they are first imported, so set before the stage is.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Importing mteb makes this folder, and by default it lies in the home directory, which may not be writable.
    os.environ.setdefault("MTEB_CACHE", os.path.join(tempfile.gettempdir(), "promptpool-mteb"))
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
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
                if gpus:  # on a cluster nobody else tells
                    print(f"GPU {', '.join(devices)}" if devices else "No GPU is visible to this job.", flush=True)
                yield
            seal(writes, reads, started)
        except Exception as error:
            told = as_line(error, writes)
            if told is None:
                with contextlib.suppress(OSError):  # the terminal gets it too, and Snakemake names the log
                    traceback.print_exc()
                raise
            # On a full disk the log takes nothing either.
            with contextlib.suppress(OSError):
                print(f"Error: {told}", file=sys.stderr, flush=True)
            os.write(terminal, f"Error: {told}\n".encode(errors="backslashreplace"))
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
    """What a user is told of an error, in one line; None for a fault of promptpool's own, whose traceback is wanted."""
    work = str(writes[0]) if writes else "this job"
    if isinstance(error, PromptpoolError):
        return " ".join(str(error).split("\n"))
    message = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(sign in message.lower() for sign in NO_MEMORY):
        return f"{work}: out of memory; free some, or give the job more ({message[:160]})"
    if "trust_remote_code" in message:  # transformers, of a model without a class of its own there
        return f"{work}: not made: {error!s:.80}...: no code of a base model's repository is run (see SECURITY.md)"
    if isinstance(error, OSError) and error.filename is not None:
        reason = os.strerror(error.errno) if error.errno else message
        return f"{os.fsdecode(error.filename)}: {reason}; mend that and run again ({work} was not made)"
    if isinstance(error, OSError) or "os error " in message:  # of a library that tells the reason alone
        return f"{work}: not made: {message[:300]}; mend that and run again"
    return None
