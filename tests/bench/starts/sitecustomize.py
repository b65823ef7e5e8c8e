"""Notes what each process of a run spends on starting; Python imports this first where it is on PYTHONPATH.

STARTS names a file that gets lines `script, kind, CPU seconds`, with tabs between. Kinds: `interpreter` (until here),
`import` (outermost imports), `load` (weights of models, and what an Embedder does when it is loaded) and, when a
process ends, `total`. Processes that a job starts count as the job's.
"""

import atexit
import builtins
import functools
import os
import resource
import sys
import time

OPEN = {"depth": 0}
WRAPPED: set[str] = set()
ENDED: set[int] = set()
LOADERS = {  # module: (class, method), each called through its class
    "transformers.modeling_utils": ("PreTrainedModel", "from_pretrained"),
    "peft.peft_model": ("PeftModel", "from_pretrained"),
    "promptpool.embedding.embedder": ("Embedder", "load"),
    "sentence_transformers.SentenceTransformer": ("SentenceTransformer", "__init__"),
}


def note(kind: str, seconds: float) -> None:
    name = os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".py").rpartition(".")[2]
    if name == "-c" and "fork_server" in sys.orig_argv[-1]:
        name = "fork_server"
    elif name in ("", "-c", "-m", "__main__", "snakemake"):
        name = os.environ.get("STARTS_OF", "snakemake")
    os.environ["STARTS_OF"] = name
    with open(os.environ["STARTS"], "a", encoding="utf-8") as handle:
        handle.write(f"{name}\t{kind}\t{seconds:.4f}\n")


def timed(function, kind: str):
    """The function; the CPU time of an outermost call is noted."""

    @functools.wraps(function)
    def run(*arguments, **named):
        started = time.process_time()
        OPEN["depth"] += 1
        try:
            return function(*arguments, **named)
        finally:
            OPEN["depth"] -= 1
            if not OPEN["depth"]:
                spent = time.process_time() - started
                if spent > 0.0005:
                    note(kind, spent)
                wrap_loaders()

    return run


def wrap_loaders() -> None:
    for module, (owner, method) in LOADERS.items():
        if module not in WRAPPED and hasattr(sys.modules.get(module), owner):
            WRAPPED.add(module)
            kind = getattr(sys.modules[module], owner)
            known = kind.__dict__[method]
            if isinstance(known, classmethod):
                setattr(kind, method, classmethod(timed(known.__func__, "load")))
            else:
                setattr(kind, method, timed(known, "load"))


def ended() -> None:
    """Notes this process's CPU time, once."""
    if os.getpid() in ENDED:
        return
    ENDED.add(os.getpid())
    used = resource.getrusage(resource.RUSAGE_SELF)
    note("total", used.ru_utime + used.ru_stime)


def ended_by(leave):
    """os._exit, by which the processes of a pool, forked jobs and the process that they are forks of end."""

    @functools.wraps(leave)
    def noted(status: int):
        ended()
        leave(status)

    return noted


if "STARTS" in os.environ:
    os._exit = ended_by(os._exit)
    atexit.register(ended)
    note("interpreter", time.process_time())
    builtins.__import__ = timed(builtins.__import__, "import")
