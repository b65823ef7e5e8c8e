"""A job's own script in a forked process, which finds the libraries loaded already."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

from promptpool.artifacts.files import remove, sidecar_path
from promptpool.artifacts.parts import read_manifest

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
DEADLINE = 90  # seconds: no job may hang; on a busy machine so many times what the job takes undisturbed
TIMES = 30
HUNG = -1000  # the exit code of one that did


def start(job: SimpleNamespace, tree: Path, told: Path, before: Callable[[], None] | None = None) -> int:
    """Forks a process that runs the job's script in `tree`, its terminal in the file `told`; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        os.chdir(tree)
        terminal = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(terminal, 1)
        os.dup2(terminal, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        source = SCRIPTS / Path(job.script).name
        compiled = compile(source.read_text(), str(source), "exec")
        if before:
            before()
        exec(compiled, {"snakemake": job, "__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def wait(
    child: int, moment: float | None = None, kill: int = signal.SIGKILL, usual: float = 0, deadline: float = DEADLINE
) -> int:
    """The exit code (negative: the signal that ended it). With a moment, the process is sent `kill` after so long.
    usual: the seconds that the job takes undisturbed, if they are known. deadline: it is ended after so many seconds.
    """
    started = time.monotonic()
    sent, hung = None, False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return HUNG if hung else os.waitstatus_to_exitcode(status)
        now = time.monotonic() - started
        if moment is not None and sent is None and now >= moment:
            sent = now
            os.kill(child, kill)
        if now > max(deadline, TIMES * usual) or (sent is not None and now > sent + 30):
            hung = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)


def clear(job: SimpleNamespace, tree: Path, reference: Path | None = None) -> None:
    """What Snakemake does before it starts a job: takes away its outputs. With the reference, its parts go, too."""
    for output in job.output:
        remove(tree / output)
    for part in parts_of(job, reference, tree) if reference else ():
        remove(part)
        remove(sidecar_path(part))


def parts_of(job: SimpleNamespace, reference: Path, tree: Path) -> list[Path]:
    """The files in `tree` that a job's manifests list in the finished study."""
    return [tree / path.relative_to(reference) for path in listed_by(job.output, reference)]


def listed_by(paths: Iterable[str], tree: Path) -> list[Path]:
    """The files that the manifests among some paths list."""
    manifests = [tree / path for path in paths if Path(path).parts[2:3] in (("embeddings",), ("scores",))]
    return [
        manifest.parent / name
        for manifest in manifests
        if manifest.suffix == ".json"
        for name in read_manifest(manifest)
    ]
