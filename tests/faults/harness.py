"""The fault harness: breaks every stage of a finished tiny study in every way, runs it again, and compares.

    python tests/faults/harness.py --injections 240 --seed 1 [--study FOLDER] [--table docs/reliability-table.md]

The study is run once, undisturbed. Each injection takes a fresh copy of its tree, takes away what one job wrote, and
runs that job's own script in a forked process with a fault; then again without. What counts is what comes out:

    healed  the second run's outputs are the reference's
    named   the faulty run said, in one line, which file is at fault, and after the mend the outputs are the reference's
    SILENT  a run ended well with other outputs: the one thing that must never be
    ended   the system or a library ended the job without a word (memory alone), and the second run healed it
    LOST    the second run fails
    UNNAMED a fault that was told in no line, or in one that names no file

Snakemake itself is started for a few injections alone (`--snakemake`): it costs seconds each time.
"""

# ruff: noqa: E402
import argparse
import copy
import ctypes
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = Path(__file__).resolve()
os.environ["PYTHONPATH"] = str(HERE.parents[2] / "workflow")  # of what it starts: this checkout's package
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[2] / "workflow")]

import numpy as np
import pandas as pd
import surroundings
from promptpool.artifacts import STAMP, remove, sidecar_path
from promptpool.integrity import fault_of
from promptpool.study import Study
from recorded_jobs import recorded

TIMES = ["seconds", "tokens_per_second", "texts_per_second"]  # columns and keys that no two runs share
UNLIKE = {".html", ".png", ".svg"}  # hold a date or ids: compared by their being there
DAMAGES = ("flip", "truncate", "empty", "gone", "directory", "loop", "sidecar flip", "sidecar truncate")
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DEADLINE = 240  # seconds: no job may hang


# --- running a job's script in a fork ------------------------------------------------------------


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
        source = HERE.parents[2] / "workflow" / "scripts" / Path(job.script).name
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


def wait(child: int, moment: float | None = None, kill: int = signal.SIGKILL) -> int:
    """The exit code (negative: the signal that ended it). With a moment, the process is sent `kill` after so long."""
    started = time.monotonic()
    sent = None
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic() - started
        if moment is not None and sent is None and now >= moment:
            sent = now
            os.kill(child, kill)
        if now > DEADLINE or (sent is not None and now > sent + 30):
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)


def clear(job: SimpleNamespace, tree: Path) -> None:
    """What Snakemake does before it starts a job: takes away its outputs."""
    for output in job.output:
        remove(tree / output)


# --- comparing -----------------------------------------------------------------------------------


def differences(one: Path, other: Path) -> str | None:
    """What tells two artifacts apart, but for times; None where nothing does."""
    if one.is_dir():
        names = {path.relative_to(one) for path in one.rglob("*") if path.is_file() and path.name != STAMP}
        theirs = {path.relative_to(other) for path in other.rglob("*") if path.is_file() and path.name != STAMP}
        names, theirs = ({name for name in each if "tensorboard" not in name.parts} for each in (names, theirs))
        if names != theirs:
            return f"other files: {sorted(map(str, names ^ theirs))[:3]}"
        return next((told for name in sorted(names) if (told := differences(one / name, other / name))), None)
    if one.suffix == ".parquet":
        tables = [pd.read_parquet(path).drop(columns=TIMES, errors="ignore") for path in (one, other)]
        try:
            pd.testing.assert_frame_equal(*tables, check_exact=True)
        except AssertionError as error:
            return f"{one.name}: {str(error).splitlines()[0]}"
        return None
    if one.suffix in (".json", ".jsonl"):
        texts = [[untimed(json.loads(line)) for line in documents(path)] for path in (one, other)]
        return None if texts[0] == texts[1] else f"{one.name} differs"
    if one.suffix in UNLIKE or one.name == "README.md":
        return None if one.stat().st_size > 0 else f"{one.name} is empty"
    return None if one.read_bytes() == other.read_bytes() else f"{one.name} differs"


def documents(path: Path) -> list[str]:
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def untimed(value: object) -> object:
    if isinstance(value, dict):
        left_out = (*TIMES, "date", "evaluation_time", "evaluation_phases", "kg_co2_emissions")
        return {key: untimed(item) for key, item in value.items() if key not in left_out}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def wrong(job: SimpleNamespace, tree: Path, reference: Path) -> str | None:
    """What is wrong with a job's outputs, None where they are the reference's, whole and sealed."""
    for output in job.output:
        if not (tree / output).exists():
            return f"{output}: missing"
        if output.endswith((".meta.json", ".tar")):  # a sidecar that is declared; what has its directory's
            continue
        if not sidecar_path(tree / output).exists() or fault_of(tree / output):
            return f"{output}: not sealed"
        told = differences(tree / output, reference / output)
        if told:
            return f"{output}: {told}"
        left = [*(tree / output).parent.glob(".*.tmp*"), *(tree / output).parent.glob("*.scratch")]
        if left:
            return f"left behind: {left[0].name}"
    return None


# --- faults --------------------------------------------------------------------------------------


def hurt(path: Path, how: str, draw: random.Random) -> Path | None:
    """Damages one artifact; the file that was damaged, None where there is nothing to damage."""
    if how.startswith("sidecar"):
        path, how = sidecar_path(path), how.removeprefix("sidecar ")
    elif path.is_dir():
        inside = [one for one in sorted(path.rglob("*")) if one.is_file() and one.name != STAMP and one.stat().st_size]
        path = draw.choice(inside)
    if not path.is_file() or not path.stat().st_size:
        return None
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif how == "truncate":
        path.write_bytes(content[: draw.randrange(len(content))])
    elif how == "empty":
        path.write_bytes(b"")
    else:  # what can't be read, also by root
        path.unlink()
        if how == "directory":
            (path / "deep").mkdir(parents=True)
        elif how == "loop":
            path.symlink_to(path.name)
    return path


def put_back(path: Path, tree: Path, reference: Path) -> None:
    remove(path)
    shutil.copy2(reference / path.relative_to(tree), path)


def no_room(draw: random.Random) -> Callable[[], None]:
    """No file can grow beyond some bytes: what a full disk or a quota says, at a random place."""
    most = int(10 ** draw.uniform(3.3, 5))  # the terminal is a file, too

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return limit


def no_memory(draw: random.Random) -> Callable[[], None]:
    """Some megabytes more than are taken now, and no more."""
    more = int(2 ** draw.uniform(18, 27))

    def limit() -> None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, taken + more))

    return limit


def no_permission(paths: list[Path]) -> Callable[[], None]:
    """The files have no permissions, and the process no capability to pass over that (root has)."""

    def drop() -> None:
        for path in paths:
            path.chmod(0)
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc.capset(header, (ctypes.c_uint32 * 6)())

    return drop


# --- injections ----------------------------------------------------------------------------------


class Harness:
    """A finished study, its jobs, how long each takes, and what injections came to."""

    def __init__(self, reference: Path, room: Path, seed: int):
        self.reference, self.room, self.seed = reference, room, seed
        self.jobs = recorded(reference)
        self.seconds: dict[str, float] = {}
        self.counts: Counter = Counter()
        self.bad: list[str] = []

    def tree(self) -> Path:
        tree = self.room / "study"
        remove(tree)
        skipped = shutil.ignore_patterns(".snakemake", "jobs.pickle")
        return Path(shutil.copytree(self.reference, tree, symlinks=True, ignore=skipped))

    def run(self, job, tree: Path, before=None, moment: float | None = None, kill=signal.SIGKILL) -> tuple[int, str]:
        told = self.room / "told"
        code = wait(start(job, tree, told, before), moment, kill)
        return code, told.read_text(errors="replace")

    def learn(self, job) -> None:
        """How long a job takes, and that it gives the same twice."""
        if job.rule not in self.seconds:
            tree = self.tree()
            clear(job, tree)
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
        clear(job, tree)
        for _ in range(draw.choice([1, 1, 2])):
            self.run(job, tree, moment=draw.uniform(0, 1.05) * self.seconds[job.rule], kill=kill)
            if draw.random() < 0.3:  # what waits to be gone on with is damaged, too
                waiting = [p for p in (tree / "results").rglob("*") if p.is_file() and _waits(p)]
                if waiting:
                    hurt(draw.choice(waiting), draw.choice(["flip", "truncate"]), draw)
        self.again(signal.Signals(kill).name, job, tree)

    def inject_no_room(self, job, draw: random.Random) -> None:
        self.limited("no room", job, no_room(draw))

    def inject_no_memory(self, job, draw: random.Random) -> None:
        self.limited("no memory", job, no_memory(draw))

    def limited(self, fault: str, job, before) -> None:
        tree = self.tree()
        clear(job, tree)
        code, told = self.run(job, tree, before)
        if code == 0:
            found = wrong(job, tree, self.reference)
            return self.note(fault, job, "SILENT" if found else "healed", found or "")
        lines = [line for line in told.splitlines() if line.startswith("Error: ")]
        # A library that aborts, or no memory for a word: Snakemake then tells the job, its outputs and its log.
        wordless = code < 0 or not told.strip()
        self.again(fault, job, tree, "ended" if wordless else "named", None if wordless or len(lines) == 1 else told)

    def inject_damage(self, job, draw: random.Random) -> None:
        tree, how = self.tree(), draw.choice(DAMAGES)
        path = hurt(tree / draw.choice(list(job.input)), how, draw)
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
        clear(job, tree)
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
        if code and len(lines) == 1 and "and train anew" in lines[0]:  # a waiting checkpoint: do as the line says
            remove(tree / lines[0].rpartition("; remove ")[2].removesuffix(" and train anew"))
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
                return self.note(fault, job, "SILENT" if found else "healed", found or "")
            if len(lines) != 1:
                return self.note(fault, job, "UNNAMED", told)
        self.note(fault, job, "LOST", told)

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
        return job

    def inject_snakemake(self, draw: random.Random) -> None:
        tree = surroundings.copied(self.reference, self.room / "study")
        what = surroundings.two_snakemakes if draw.random() < 0.25 else surroundings.killed_snakemake
        fault, stage, outcome, why = what(tree, self.reference, draw, differences)
        self.note(fault, SimpleNamespace(rule=stage, output=["results"]), outcome, why)

    def table(self) -> str:
        """Faults x stages: injections, and how many were bad."""
        faults = sorted({fault for fault, _, _ in self.counts})
        rules = sorted({rule for _, rule, _ in self.counts})
        rows = ["| stage | " + " | ".join(faults) + " | all |", "| --- " * (len(faults) + 2) + "|"]
        for rule in [*rules, "all"]:
            cells = [self.cell(fault, rule) for fault in [*faults, None]]
            rows.append(f"| {rule} | " + " | ".join(cells) + " |")
        ends = Counter()
        for (_, _, outcome), count in self.counts.items():
            ends[outcome] += count
        return "\n".join([*rows, "", ", ".join(f"{count} {outcome}" for outcome, count in sorted(ends.items()))])

    def cell(self, fault: str | None, rule: str) -> str:
        own = {key: n for key, n in self.counts.items() if fault in (key[0], None) and rule in (key[1], "all")}
        bad = sum(n for key, n in own.items() if key[2].isupper())
        return (f"{sum(own.values())}" + (f" ({bad} bad)" if bad else "")) if own else ""


def _waits(path: Path) -> bool:
    """Whether a file is what a killed job left to go on from."""
    return any(part.endswith(".scratch") or part == "shards" for part in path.parts)


def warm() -> None:
    """What the jobs import, once for all forks, without starting a thread."""
    import mteb  # noqa: F401
    import torch
    from promptpool import comparison, export, parity, report, scoring, synthesis, training  # noqa: F401

    torch.set_num_threads(1)
    np.zeros(1)


def reference_study(folder: Path) -> Path:
    """The tiny study, run once and whole."""
    from tiny_study import prepare_study, snakemake

    if not (folder / "results/tiny/report.html").exists():
        answer = snakemake(prepare_study(folder))
        if answer.returncode:
            raise SystemExit(answer.stdout[-3000:] + answer.stderr[-3000:])
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--injections", type=int, default=240)
    parser.add_argument("--first", type=int, default=0, help="the number of the first injection")
    parser.add_argument("--writers", type=int, default=20, help="further injections into servers and workers")
    parser.add_argument("--snakemakes", type=int, default=8, help="further injections into Snakemake itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--study", type=Path, help="a finished tiny study; made where it is missing")
    parser.add_argument("--table", type=Path, help="write the table of faults and stages there")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        reference = reference_study((given.study or Path(room) / "reference").absolute())
        warm()
        harness = Harness(reference, Path(room), given.seed)
        for number in range(given.first, given.first + given.injections):
            harness.inject(number)
            done = number - given.first + 1
            draw = random.Random(f"{given.seed}:around:{number}")
            if done <= given.writers:
                harness.inject_writer(draw)
            if done <= given.snakemakes:
                harness.inject_snakemake(draw)
            if done % 20 == 0:
                print(f"{done} injections, {len(harness.bad)} bad, {time.monotonic() - started:.0f} s", flush=True)
    print(harness.table())
    print(f"{sum(harness.counts.values())} injections in {time.monotonic() - started:.0f} s, {len(harness.bad)} bad")
    if given.table:
        given.table.write_text(harness.table() + "\n")
    return 1 if harness.bad else 0


if __name__ == "__main__":
    sys.exit(main())
