"""What libraries read from the environment when a job imports them."""

import os
import tempfile
from collections.abc import MutableMapping
from typing import TypeVar

Environ = TypeVar("Environ", bound=MutableMapping[str, str])

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def set_surroundings(environ: Environ, threads: int, *, online: bool = False) -> Environ:
    """Sets a job's variables in `environ`, before it imports what reads them, and returns it.

    threads: of the numeric libraries. The hub is disabled for a job that is not `online`.
    """
    for name in THREADS:
        environ[name] = str(threads)
    environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Importing mteb creates this folder. Its default is in the home directory, which may not be writable.
    environ.setdefault("MTEB_CACHE", os.path.join(tempfile.gettempdir(), "promptpool-mteb"))
    environ.setdefault("WANDB_INIT_TIMEOUT", "30")  # seconds until training starts without a server that is down
    if not online:
        environ["HF_HUB_OFFLINE"] = environ["HF_DATASETS_OFFLINE"] = "1"
        environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    return environ
