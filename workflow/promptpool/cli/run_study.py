"""Runs a study with snakemake, with one line of progress; stops it as a whole on Ctrl-C."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..artifacts.files import RUN, finished
from .progress import RunProgress
from .snakemake_command import StudyFile, as_typed, snakemake_command, study_file

EVERY = 20.0  # seconds between two lines where the output is no terminal
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def plan_study(given: argparse.Namespace) -> int:
    """`promptpool plan`: what the study will cost, and what is missing here."""
    study = study_file(given.study)
    return follow(snakemake_command(study, "--cores", "1", *given.passed, targets=["plan"]), quiet=True)


def run_study(given: argparse.Namespace) -> int:
    """`promptpool run`: the study, or some targets of it. Ends with the verdict, if the study has one."""
    study = study_file(given.study)
    how = ["--cores", given.cores, "--rerun-incomplete", *(["-n", "--quiet", "rules"] if given.dry_run else [])]
    command = snakemake_command(study, *how, *given.passed, targets=given.targets)
    if given.verbose or given.dry_run:
        announce(command)
        return subprocess.run(command, check=False).returncode
    code = follow(command)
    if code == 0:
        for line in closing_lines(study, given.targets):
            print(line)
    return code


def closing_lines(study: StudyFile, targets: Sequence[str] = ()) -> Iterator[str]:
    """What a finished run is worth: the verdict's lines, and where to look next. Of another target's run nothing is
    said, because it has not looked whether these files are up to date.
    """
    whole = not targets
    verdict = study.results / "verdict.txt"
    if (whole or "verdict" in targets) and verdict.is_file():
        yield from verdict.read_text(encoding="utf-8").splitlines()
    models = [path for path in finished(study.results / "models", "*") if path.is_dir()]
    if whole and models:
        yield f"Model: SentenceTransformer({str(models[0])!r})"
    if whole and (study.results / "report.html").is_file():
        yield f"Report: {study.results / 'report.html'} (`promptpool report` opens it); scores: `promptpool scores`"


def announce(command: Sequence[str]) -> None:
    """Says on stderr what is run, so that it can be done without this command."""
    print(f"> {as_typed(command)}", file=sys.stderr, flush=True)


def follow(command: Sequence[str], quiet: bool = False) -> int:
    """Runs snakemake, shows its progress on stderr, and returns its exit code. What it prints on stdout is passed on.

    quiet: no line of progress. If it fails, the failing job's own line and the path of its log are shown.
    """
    announce(command)
    shown = Line(quiet)
    progress = RunProgress(shown)
    # A process group of its own: a signal reaches snakemake once, from here, with its jobs, as Ctrl-C does in a shell.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", process_group=0,
        env={name: value for name, value in os.environ.items() if name != RUN},
        # A shell's background job ignores interrupts, and what it starts would do so, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with passed_on(process, lambda: shown("Stopping; jobs that run are ended, and what is done is kept.")):
        for line in process.stderr:
            progress.line(line)
        code = process.wait()
    shown.end()
    if code:
        explain(progress, stopped=shown.stopped)
    elif progress.nothing:
        print("Nothing to be done: all results are there and up to date.", file=sys.stderr)
    return code if code >= 0 else 128 - code


@contextmanager
def passed_on(process: subprocess.Popen, told: Callable[[], object]) -> Iterator[None]:
    """Passes the signals that stop a run on to a process's whole group, as an interrupt, which leaves no lock.

    A hangup that is ignored stays so: that is what `nohup` is for.
    """

    def stop(_number: int, _frame: object) -> None:
        told()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)

    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, stop) for number in STOPPING if number not in kept}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def explain(progress: RunProgress, stopped: bool) -> None:
    """Says why snakemake failed."""
    if stopped:
        lines = ["Stopped. The same command goes on from here."]
    else:
        own = [line for line in progress.faults if line.startswith("Error: ")]
        lines = [] if own else list(dict.fromkeys(progress.faults)) or progress.tail[-8:]
        lines += [f"Log: {log}" for log in dict.fromkeys(progress.logs)]
        lines += ["All that snakemake printed: the last file in .snakemake/log"] if progress.total else []
        if any("lock" in line.lower() for line in progress.faults):
            lines.append("If no other run is at work here: promptpool run -- --unlock")
    print("\n".join(lines), file=sys.stderr, flush=True)


class Line:
    """One line of progress: rewritten on a terminal, now and then a new one elsewhere. Other lines stay."""

    def __init__(self, quiet: bool = False):
        self.quiet, self.terminal, self.stopped = quiet, sys.stderr.isatty(), False
        self._last, self._pending = 0.0, False

    def __call__(self, text: str) -> None:
        status = " jobs done" in text
        self.stopped |= text.startswith("Stopping")
        if status and self.quiet:
            return
        if self.terminal:
            text = text[: shutil.get_terminal_size().columns - 1] if status else text
            print(f"\r\x1b[K{text}", end="" if status else "\n", file=sys.stderr, flush=True)
            self._pending = status
        elif not status or time.monotonic() - self._last >= EVERY:
            print(text, file=sys.stderr, flush=True)
            self._last = time.monotonic() if status else self._last

    def end(self) -> None:
        """Leaves the last line of progress standing."""
        if self._pending:
            print(file=sys.stderr, flush=True)
