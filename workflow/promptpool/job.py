"""One job's surroundings: its log file, its threads, and errors as one line."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import PromptpoolError
from .leases import leased


@contextmanager
def job(log: str, threads: int = 1, *, online: bool = False, gpus: int = 0, jobs_per_gpu: int = 1) -> Iterator[None]:
    """Runs a script's one call with stdout and stderr in `log`, on `threads` threads.

    It sees `gpus` devices that no more than `jobs_per_gpu` jobs share, and waits for them.
    Only a job that fetches is `online`; for all others the hub is switched off, so that none asks it in passing.
    A PromptpoolError is printed as one line, to the log and to the terminal, and ends the job.
    """
    # Read by the numeric libraries when they are first imported, so set before the stage is.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with open(log, "w", encoding="utf-8") as handle:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1)
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            with leased(gpus, jobs_per_gpu) as devices:
                if devices:
                    print(f"GPU {', '.join(devices)}", flush=True)
                yield
        except PromptpoolError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            os.write(terminal, f"Error: {error}\n".encode())
            raise SystemExit(1) from None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept, 1)
            os.dup2(terminal, 2)
            os.close(kept)
            os.close(terminal)
