"""The fault harness: breaks every stage of a finished tiny study in every way, runs it again, and compares.

    python tests/faults/harness.py --injections 240 --seed 1 [--study FOLDER] [--table fault-table.md]

The study is run once, undisturbed. Each injection takes a fresh copy of its tree, takes away what one job wrote, and
runs that job's own script in a forked process with a fault; then again without. What counts is what comes out:

    read    a user's file came out as it was written, row for row
    healed  the second run's outputs are the reference's
    named   the faulty run said, in one line, which file is at fault, and after the fix the outputs are the reference's
    lost row  a server has no text for some rows: each has its own reason, and all others are the reference's
    SILENT  a run ended well with other outputs: the one thing that must never be
    ended   the system or a library ended the job without a word (memory alone), and the second run healed it
    hung    a library waits for memory for ever (OpenBLAS does); the deadline ended it, and the second run healed it
    LOST    the second run fails
    HUNG    a job that any other fault made wait for ever
    UNNAMED a fault that was told in no line, or in one that names no file

Snakemake itself is started for a few injections alone (`--snakemake`): it costs seconds each time.
"""

# ruff: noqa: E402
import argparse
import copy
import gc
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = Path(__file__).resolve()
os.environ["PYTHONPATH"] = str(HERE.parents[2] / "workflow")  # of what it starts: this checkout's package
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[2] / "workflow")]

import numpy as np
import server_answers
import surroundings
import user_files
from compare import differences, wrong
from damage import DAMAGES, OPEN_DAMAGES, fill, hurt, no_memory, no_permission, no_room, put_back, small_disk
from fault_table import table
from forks import DEADLINE, HUNG, clear, listed_by, parts_of, start, wait
from promptpool.artifacts.files import remove
from promptpool.study.study import Study
from recorded_jobs import recorded

KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Harness:
    """A finished study, its jobs, how long each takes, and what injections came to."""

    def __init__(self, reference: Path, room: Path, seed: int, deadline: float):
        self.reference, self.room, self.seed, self.deadline = reference, room, seed, deadline
        self.jobs = recorded(reference)
        self.seconds: dict[str, float] = {}
        self.counts: Counter = Counter()
        self.bad: list[str] = []

    def tree(self, disk: Path | None = None) -> Path:
        """A fresh copy of the finished study."""
        tree = (disk or self.room) / "study"
        remove(tree)
        skipped = shutil.ignore_patterns(".snakemake", "jobs.pickle")
        return Path(shutil.copytree(self.reference, tree, symlinks=True, ignore=skipped))

    def run(self, job, tree: Path, before=None, moment: float | None = None, kill=signal.SIGKILL) -> tuple[int, str]:
        told = self.room / "told"
        usual = self.seconds.get(job.rule, 0)
        # How slow this machine is just now shows only in what the job took undisturbed.
        code = wait(start(job, tree, told, before), moment, kill, usual, self.deadline if usual else DEADLINE)
        return code, told.read_text(errors="replace")

    def learn(self, job) -> None:
        """How long a job takes, and that it gives the same twice."""
        if job.rule not in self.seconds:
            tree = self.tree()
            clear(job, tree, self.reference)
            started = time.monotonic()
            code, told = self.run(job, tree)
            self.seconds[job.rule] = time.monotonic() - started
            fault = wrong(job, tree, self.reference) if code == 0 else told[-600:]
            if fault:
                self.note("none", job, "SILENT" if code == 0 else "LOST", fault)

    def note(self, fault: str, job, outcome: str, why: str = "") -> None:
        self.counts[fault, job.rule, outcome] += 1
        if outcome.isupper():
            self.bad.append(f"{outcome}: {fault} in {job.rule} ({job.output[0]}): {why.strip()[-1500:]}")
            print(self.bad[-1], flush=True)

    def inject(self, number: int) -> None:
        draw = random.Random(f"{self.seed}:{number}")
        rules = sorted({job.rule for job in self.jobs})
        rule = rules[number % len(rules)]  # every stage in turn
        job = draw.choice([one for one in self.jobs if one.rule == rule])
        self.learn(job)
        kinds = [
            "kill",
            "no room",
            "no memory",
            *(["damage", "damage", "no permission"] if list(job.input) else ["kill"]),
        ]
        getattr(self, "inject_" + kinds[(number // len(rules)) % len(kinds)].replace(" ", "_"))(job, draw)

    def inject_kill(self, job, draw: random.Random) -> None:
        tree, kill = self.tree(), draw.choice(KILLS)
        clear(job, tree, self.reference)
        for _ in range(draw.choice([1, 1, 2])):
            moment = draw.uniform(0, 1.05) * self.seconds[job.rule]
            code, told = self.run(job, tree, moment=moment, kill=kill)
            if code == HUNG:
                return self.note(signal.Signals(kill).name, job, "HUNG", told)
            if draw.random() < 0.3:  # what waits to be gone on with is damaged, too
                waiting = [p for p in (tree / "results").rglob("*") if p.is_file() and _waits(p)]
                waiting += [path for path in parts_of(job, self.reference, tree) if path.is_file()]
                if waiting:
                    hurt(draw.choice(waiting), draw.choice(["flip", "truncate"]), draw)
        self.again(signal.Signals(kill).name, job, tree)

    def inject_no_room(self, job, draw: random.Random) -> None:
        with small_disk(self.room / "disk") as mounted:
            if not mounted:
                return self.limited("quota", job, self.tree(), no_room(draw))
            tree = self.tree(self.room / "disk")
            clear(job, tree, self.reference)
            self.limited("full disk", job, tree, filler=fill(self.room / "disk", draw))

    def inject_no_memory(self, job, draw: random.Random) -> None:
        self.limited("no memory", job, self.tree(), no_memory(draw))

    def limited(self, fault: str, job, tree: Path, before=None, filler: Path | None = None) -> None:
        clear(job, tree, self.reference)
        code, told = self.run(job, tree, before)
        if filler:
            filler.unlink()
        if code == 0:
            found = wrong(job, tree, self.reference)
            return self.note(fault, job, "SILENT" if found else "healed", found or "")
        lines = [line for line in told.splitlines() if line.startswith("Error: ")]
        # A library that aborts, or no memory for a word: Snakemake then tells the job, its outputs and its log.
        wordless = code < 0 or not told.strip()
        if code == HUNG and fault != "no memory":
            return self.note(fault, job, "HUNG", told)
        outcome = "hung" if code == HUNG else "ended" if wordless else "named"
        self.again(fault, job, tree, outcome, None if wordless or len(lines) == 1 else told)

    def inject_damage(self, job, draw: random.Random) -> None:
        tree = self.tree()
        listed = [str(path.relative_to(tree)) for path in listed_by(job.input, tree)]
        given = draw.choice([*job.input, *listed])
        # A user's own file has no digest: another content is another input.
        how = draw.choice(DAMAGES if given.startswith("results/") else OPEN_DAMAGES)
        path = hurt(tree / given, how, draw)
        if path is None:
            return self.inject_kill(job, draw)
        self.damaged(f"input {how}", job, tree, [path])

    def inject_no_permission(self, job, draw: random.Random) -> None:
        tree = self.tree()
        path = tree / draw.choice(list(job.input))
        paths = (
            [path] if path.is_file() else [next(one for one in path.rglob("*") if one.is_file() and one.stat().st_size)]
        )
        if not paths[0].stat().st_size:
            return self.inject_kill(job, draw)
        self.damaged("no permission", job, tree, paths, no_permission(paths))

    def damaged(self, fault: str, job, tree: Path, paths: list[Path], before=None) -> None:
        clear(job, tree, self.reference)
        code, told = self.run(job, tree, before)
        lines = [line for line in told.splitlines() if line.startswith("Error: ")]
        if code == 0:
            found = wrong(job, tree, self.reference)
            # A sidecar that is gone is told of and made again; nothing else may pass.
            return self.note(fault, job, "SILENT" if found else "healed", found or "")
        name = str(paths[0].relative_to(tree)).removesuffix(".meta.json")
        named = len(lines) == 1 and name in lines[0]
        for path in paths:
            if before is None or path.exists():
                put_back(path, tree, self.reference)
        self.again(fault, job, tree, "named", None if named else told)

    def again(self, fault: str, job, tree: Path, outcome: str = "healed", unnamed: str | None = None) -> None:
        """The same job without the fault."""
        if unnamed is not None:
            return self.note(fault, job, "UNNAMED", unnamed)
        clear(job, tree)
        code, told = self.run(job, tree)
        lines = [line for line in told.splitlines() if line.startswith("Error: ")]
        if code and len(lines) == 1 and "and train again" in lines[0]:  # a waiting checkpoint: do as the line says
            remove(tree / lines[0].rpartition("; remove ")[2].removesuffix(" and train again"))
            clear(job, tree)
            code, told = self.run(job, tree)
            outcome = "named"
        if code:
            return self.note(fault, job, "LOST", told)
        found = wrong(job, tree, self.reference)
        self.note(fault, job, "SILENT" if found else outcome, found or "")

    # --- what a job depends on, and Snakemake ---------------------------------------------------

    def inject_writer(self, draw: random.Random) -> None:
        """A server that answers badly, or a worker that dies, while it writes the pairs; then one that does not."""
        backend = draw.choice(["openai", "vllm"])
        wanted = self.written(backend)
        tree = self.tree()
        clear(self.writing(backend, {}), tree)
        for share in (draw.choice([0.1, 0.4]), 0):
            code, told = self.written_by(backend, tree, draw.randrange(1000), share)
            fault = "bad server" if backend == "openai" else "worker killed"
            lines = [line for line in told.splitlines() if line.startswith("Error: ")]
            job = self.writing(backend, {})
            if code == 0:
                found = differences(tree / job.output[0], wanted)
                failed = found and backend == "openai" and surroundings.failed_rows(tree / job.output[0], wanted)
                return self.note(fault, job, "lost row" if failed else "SILENT" if found else "healed", found or "")
            if len(lines) != 1:
                return self.note(fault, job, "UNNAMED", told)
        self.note(fault, job, "LOST", told)

    def inject_answers(self, draw: random.Random) -> None:
        """A server that has no text for some rows, or for all."""
        server_answers.inject(self, draw)

    def clear(self, job, tree: Path) -> None:
        clear(job, tree)

    def written(self, backend: str) -> Path:
        """The pairs of an undisturbed server or worker."""
        kept = self.room / f"{backend}.parquet"
        if not kept.exists():
            tree = self.tree()
            clear(self.writing(backend, {}), tree)
            code, told = self.written_by(backend, tree, 0, 0)
            assert code == 0, told
            shutil.copy(tree / self.writing(backend, {}).output[0], kept)
        return kept

    def written_by(self, backend: str, tree: Path, seed: int, share: float) -> tuple[int, str]:
        if backend == "vllm":
            options = {"python": surroundings.worker(self.room / "worker", seed, share > 0)}
            return self.run(self.writing(backend, options), tree)
        child, url = surroundings.server(seed, share)
        try:
            return self.run(self.writing(backend, {"url": url, "key_variable": None, "retries": 2}), tree)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()

    def writing(self, backend: str, options: dict) -> SimpleNamespace:
        """The job that writes pairs, by another backend."""
        (job,) = (one for one in self.jobs if one.rule == "make_pairs" and "pairs/written/" in one.output[0])
        job, config = copy.copy(job), copy.deepcopy(job.config)
        config["pairs"]["written"]["backend"] = backend
        config["backends"][backend] |= options
        study = Study(config)
        job.config, job.params = config, copy.deepcopy(job.params)
        job.params.spec, job.params.model = study.pairs_spec("written"), study.pairs_model("written")
        job.params.execution = study.execution("pairs", "written")
        return job

    def inject_file(self, draw: random.Random) -> None:
        """A user's file in some format and dialect, or one with a row that does not fit."""
        rule = draw.choice(["build_corpus", "build_task"])
        (job,) = (one for one in self.jobs if one.rule == rule and one.params.spec["source"] == "file")
        tree = self.tree()
        clear(job, tree)
        table = user_files.rows(draw)
        if draw.random() < 0.5:
            fault, path, wanted = "file", user_files.write(tree, table, draw), None
        else:
            fault, path, wanted = user_files.spoil(rule, tree, draw)
        job = copy.copy(job)
        job.params = copy.deepcopy(job.params)
        job.params.spec = {**job.params.spec, "path": path.name}
        code, told = self.run(job, tree)
        lines = [line for line in told.splitlines() if line.startswith("Error: ")]
        if code == 0:
            found = fault if wanted else user_files.came_out(rule, tree, job.output, table)
            return self.note("user's file", job, "SILENT" if found else "read", found or "")
        named = wanted is not None and len(lines) == 1 and path.name in lines[0] and wanted in lines[0]
        self.note("user's file", job, "named" if named else "UNNAMED" if wanted else "LOST", f"{fault}: {told}")

    def inject_snakemake(self, draw: random.Random) -> None:
        tree = surroundings.copied(self.reference, self.room / "study")
        what = surroundings.two_snakemakes if draw.random() < 0.25 else surroundings.killed_snakemake
        fault, stage, outcome, why = what(tree, self.reference, draw, differences)
        self.note(fault, SimpleNamespace(rule=stage, output=["results"]), outcome, why)


def _waits(path: Path) -> bool:
    """Whether a file is what a killed job left to go on from."""
    return any(part.endswith(".scratch") or part == "shards" for part in path.parts)


def warm() -> None:
    """What the jobs import, once for all forks, without starting a thread."""
    import mteb  # noqa: F401
    import torch
    from promptpool.analysis import compare_ablation, summarise_scores  # noqa: F401
    from promptpool.export import check_parity, export_model  # noqa: F401
    from promptpool.pairs import make_pairs  # noqa: F401
    from promptpool.report import build_report  # noqa: F401
    from promptpool.scoring import score_checkpoint, scorer  # noqa: F401
    from promptpool.training import rank  # noqa: F401

    torch.set_num_threads(1)
    np.zeros(1)
    gc.collect()
    gc.freeze()  # else each fork looks for cycles among all that was imported


def reference_study(folder: Path) -> Path:
    """The tiny study, run once and whole."""
    from tiny_study import prepare_study, snakemake

    if not (folder / "results/tiny/report.html").exists():
        answer = snakemake(prepare_study(folder))
        if answer.returncode:
            raise SystemExit(answer.stdout[-3000:] + answer.stderr[-3000:])
    return folder


def share(part: int, parts: int, reference: Path, given: argparse.Namespace) -> tuple[Counter, list[str]]:
    """One process's injections: every so many stages, so that what it learns of a stage serves it alone."""
    with tempfile.TemporaryDirectory() as room:
        warm()
        harness = Harness(reference, Path(room), given.seed, given.deadline)
        stages = len({job.rule for job in harness.jobs})
        started, done = time.monotonic(), 0
        for number in range(given.first, given.first + given.every * given.injections, given.every):
            if number % stages % parts == part:
                harness.inject(number)
                done += 1
                if done % 20 == 0:
                    seconds = time.monotonic() - started
                    print(f"[{part}] {done} injections, {len(harness.bad)} bad, {seconds:.0f} s", flush=True)
        for number in range(part, given.writers, parts):
            harness.inject_writer(random.Random(f"{given.seed}:writer:{number}"))
        for number in range(part, given.files, parts):
            harness.inject_file(random.Random(f"{given.seed}:file:{number}"))
        for number in range(part, given.answers, parts):
            harness.inject_answers(random.Random(f"{given.seed}:answers:{number}"))
        for number in range(part, given.snakemakes, parts):
            harness.inject_snakemake(random.Random(f"{given.seed}:snakemake:{number}"))
        return harness.counts, harness.bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--injections", type=int, default=240)
    parser.add_argument("--first", type=int, default=0, help="the number of the first injection")
    parser.add_argument("--every", type=int, default=1, help="the numbers' step: a part of a longer run")
    parser.add_argument("--writers", type=int, default=20, help="further injections into servers and workers")
    parser.add_argument("--files", type=int, default=120, help="further injections of users' files")
    parser.add_argument("--answers", type=int, default=20, help="further injections of a server's answers to rows")
    parser.add_argument("--snakemakes", type=int, default=8, help="further injections into Snakemake itself")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds until a job counts as hung")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--study", type=Path, help="a finished tiny study; made where it is missing")
    parser.add_argument("--table", type=Path, help="write the table of faults and stages there")
    given = parser.parse_args()
    started = time.monotonic()
    counts: Counter = Counter()
    bad: list[str] = []
    with tempfile.TemporaryDirectory() as room:
        reference = reference_study((given.study or Path(room) / "reference").absolute())
        recorded(reference)
        with ProcessPoolExecutor(given.processes, multiprocessing.get_context("spawn")) as pool:
            parts = [pool.submit(share, part, given.processes, reference, given) for part in range(given.processes)]
            for part in parts:
                counts += part.result()[0]
                bad += part.result()[1]
    print(table(counts))
    print(f"{sum(counts.values())} injections in {time.monotonic() - started:.0f} s, {len(bad)} bad")
    if given.table:
        given.table.write_text(table(counts) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
