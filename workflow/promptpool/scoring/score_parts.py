"""Scores many parts at once, in processes of one thread each: what is there and still valid is kept."""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Protocol

import pandas as pd
from tqdm import tqdm

from ..artifacts.files import VERIFIED, file_digest, state, write_sidecar, write_table
from ..artifacts.parts import digest_of_part, is_kept
from ..runtime.children import end_with_parent, forget_script
from ..runtime.forked_jobs import is_fork, use_threads
from ..runtime.surroundings import THREADS
from .scored_task import ScoredTask

RESULTS = ".results.jsonl"


class Scored(Protocol):
    """What is scored: the vectors of a family of prompts, or a baseline."""

    def scores(self, scorer: object) -> tuple[pd.DataFrame, list[str]]:
        """Rows of SCORE_COLUMNS and MTEB's results as lines."""

    def made_of(self) -> dict:
        """What changes its scores, besides the task: values of JSON."""

    @property
    def files(self) -> Sequence[str]:
        """The vectors that it reads."""


@dataclass(frozen=True)
class ScorePart:
    """One task's scores of one thing. path: of the rows; MTEB's results lie beside it."""

    path: str
    task: ScoredTask
    scored: Scored
    manifest: str
    made_of: str

    @property
    def results(self) -> str:
        return self.path.removesuffix(".parquet") + RESULTS

    @property
    def files(self) -> tuple[str, str]:
        return self.path, self.results


def part_of(path: str, task: ScoredTask, scored: Scored, manifest: str, code: str) -> ScorePart:
    """A part, with a digest of what it depends on: the task's texts and labels, what is scored, and the code."""
    spec = {key: value for key, value in task.spec.items() if key != "snapshot"}
    files = [task.labelled, task.texts, *task.spec.get("snapshot", ())]
    digests = [VERIFIED.get(state(file)) or file_digest(file) for file in files]
    made_of = digest_of_part(task=task.name, spec=spec, files=digests, scored=scored.made_of(), code=code)
    return ScorePart(path, task, scored, manifest, made_of)


def score_parts(parts: Sequence[ScorePart], workers: int) -> list[str]:
    """Scores the parts that are not there yet, on `workers` processes. Returns the files that were written."""
    missing = [part for part in parts if not all(is_kept(file, part.made_of) for file in part.files)]
    groups = grouped(missing, workers)
    count = min(workers, len(groups))
    with contextlib.ExitStack() as stack:
        if count > 1:  # they are there before the bar starts a thread, which a fork would lack
            pool = stack.enter_context(_processes(count))
            coming = [pool.submit(score_group, group) for group in groups]
            ends = (one.result() for one in coming)
        else:
            ends = map(score_group, groups)
        bar = stack.enter_context(
            tqdm(total=len(missing), desc="score", unit="file", mininterval=2, disable=not missing)
        )
        for done in ends:
            bar.update(done)
    return [file for part in missing for file in part.files]


def grouped(parts: Sequence[ScorePart], workers: int) -> list[list[ScorePart]]:
    """The parts by task, whose data a process reads once; tasks are split if there are fewer than workers."""
    tasks: dict[str, list[ScorePart]] = {}
    for part in parts:
        tasks.setdefault(part.task.name, []).append(part)
    pieces = max(1, math.ceil(workers / max(1, len(tasks))))
    groups = []
    for own in tasks.values():
        size = math.ceil(len(own) / pieces)
        groups += [own[start : start + size] for start in range(0, len(own), size)]
    return groups


@contextlib.contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread, forked from one that has imported MTEB: this one, if it is a fork of such a one."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # they read it when they are first imported
    forget_script()
    context = get_context("fork" if is_fork() else "forkserver")
    if not is_fork():
        context.set_forkserver_preload(["promptpool.scoring.scorer", "torch"])  # MTEB imports torch when it scores
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin() -> None:
    end_with_parent()
    if is_fork():  # its libraries are there already, with the job's threads
        use_threads(1)


def score_group(parts: Sequence[ScorePart]) -> int:
    """Scores some parts of one task, whose data is read once. Returns their number."""
    from .scorer import Scorer, write_lines

    scorer = Scorer(parts[0].task)
    for part in parts:
        started = time.time()
        table, lines = part.scored.scores(scorer)
        write_lines(part.results, lines)
        about = {
            "inputs": [part.task.labelled, part.task.texts, *part.scored.files],
            "spec": {**part.task.spec, **part.scored.made_of()},
            "made_of": part.made_of,
            "manifest": part.manifest,
        }
        write_sidecar(part.results, started=started, **about)
        write_table(part.path, table, started=started, **about)
    return len(parts)
