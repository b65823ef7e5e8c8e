"""What starting costs: the same made-up study by two checkouts, from nothing to all scores, one after the other.

    python tests/bench/bench_jobs.py --old FOLDER [--checkpoints 3 --families 7 --tasks 3 --texts 500 --rounds 1]

The study: the demo's model with an adapter of some steps, prompts with as many different prefixes, and tasks of made-up
texts that share none. Pairs and adapters are made before the clock starts. Prints seconds of the clock and of the CPUs,
jobs, and the ratio of old to new. `--study demo` times the demo's whole workflow instead. `--stages` runs this checkout
alone, and prints for each stage what part of its CPU time is starting: interpreter, imports, loading of weights.

`--part` is for a study that takes hours: both sides make the scores of so many checkpoints alone, and their numbers are
multiplied. All checkpoints have the same prompts and tasks. The last ones are made, which are adapters.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "workflow"))
from promptpool.templates import families  # noqa: E402

NANO = "workflow/resources/nano-docs"


def study(checkpoints: int, families: int, tasks: int) -> dict:
    """The config. The first checkpoint is the untuned model, each other one a step of training."""
    prompts = {f"p{number}": f'Family {number} reads: "{{text}}" and ends' for number in range(families)}
    steps = list(range(1, checkpoints))
    adapter = {"model": "m", "pairs": ["halves"], "prompt": "p0", "pooling": "last", "batch_size": 8, "warmup_steps": 0}
    return {
        "run": "bench",
        "device": "cpu",
        "models": {"m": {"path": str(REPOSITORY / NANO)}},
        "corpora": {"lines": {"source": "file", "path": "corpus.csv"}},
        "pairs": {"halves": {"corpus": "lines", "styles": ["halves"], "filters": {"min_words": 1}}},
        "adapters": {"a": {**adapter, "steps": steps, "max_steps": steps[-1]}},
        "prompts": prompts,
        "grid": {"models": ["m"], "adapters": "all", "prompts": list(prompts), "poolings": ["mean", "last"]},
        "tasks": {f"t{number}": {"source": "file", "path": f"t{number}.csv"} for number in range(tasks)},
        "baselines": {"random": {"kind": "random", "seeds": 1}},
    }


def prepare(folder: Path, given: argparse.Namespace) -> None:
    """The study's files: words drawn by topic, with a number that makes each text its own."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study(given.checkpoints, given.families, given.tasks)))
    words = (REPOSITORY / "workflow/promptpool/text/function_words.txt").read_text().split()
    words = [word for word in words if word.isalpha()]
    draw = random.Random(0)
    for name, count in [("corpus", 200), *((f"t{number}", given.texts) for number in range(given.tasks))]:
        lines = ["text,label"]
        for row in range(count):
            topic = row % 10
            own = draw.choices(words[10 * topic : 10 * topic + 10], k=6) + draw.choices(words, k=6)
            lines.append(f"{' '.join(own)} {name} {row},topic {topic}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def run(checkout: Path, folder: Path, *arguments: str) -> dict:
    """Seconds of the clock and of the CPUs that one call of Snakemake took, and the number of its jobs."""
    environ = {**os.environ, "PYTHONPATH": str(checkout / "workflow"), "OMP_NUM_THREADS": "1"}
    if "STARTS" in environ:
        environ["PYTHONPATH"] += os.pathsep + str(REPOSITORY / "tests/bench/starts")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(checkout / "Snakefile"),
        "--cores",
        "2",
        *arguments,
    ]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    answer = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if answer.returncode:
        raise SystemExit(answer.stdout[-3000:] + answer.stderr[-3000:])
    lines = (answer.stdout + answer.stderr).splitlines()
    total = next((int(line.split()[1]) for line in lines if line.startswith("total ")), 0)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "jobs": total}


def made_up(checkout: Path, room: Path, given: argparse.Namespace) -> dict:
    folder = room / "study"
    shutil.rmtree(folder, ignore_errors=True)
    prepare(folder, given)
    config = ["--configfile", "study.yaml"]
    run(checkout, folder, "adapters", "tasks", *config)
    if not given.part:
        return run(checkout, folder, "scores", *config)
    steps = range(given.checkpoints - given.part, given.checkpoints)
    found = run(checkout, folder, *(path for step in steps for path in scores_of(step, checkout, given)), *config)
    return {key: round(value * given.checkpoints / given.part, 1) for key, value in found.items()}


def scores_of(step: int, checkout: Path, given: argparse.Namespace) -> list[str]:
    """What holds a checkpoint's scores: the new side's manifest, or the old side's file for each task and family."""
    names = ["all.json"]
    if checkout != REPOSITORY:
        prompts = study(given.checkpoints, given.families, given.tasks)["prompts"]
        names = [f"t{task}/{one.name}.parquet" for task in range(given.tasks) for one in families(prompts)]
    return [f"results/bench/scores/m/a@{step}/{name}" for name in names]


def demo(checkout: Path, room: Path, given: argparse.Namespace) -> dict:
    """The whole demo in a copy of the checkout's files; both sides run the old one's study."""
    folder = room / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    skipped = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__", ".vllm")
    shutil.copytree(checkout, folder, ignore=skipped)
    if given.old:
        study = "workflow/profiles/demo/study.yaml"
        shutil.copyfile(given.old / study, folder / study)
    return run(folder, folder, "--workflow-profile", "workflow/profiles/demo")


def by_stage(measure: Callable, given: argparse.Namespace) -> str:
    """A table in Markdown: CPU seconds of each stage, those of starting, and their share."""
    with tempfile.TemporaryDirectory() as room:
        os.environ["STARTS"] = str(Path(room, "starts.tsv"))
        whole = measure(REPOSITORY, Path(room), given)
        lines = [line.split("\t") for line in Path(os.environ["STARTS"]).read_text(encoding="utf-8").splitlines()]
    kinds = ("interpreter", "import", "load", "total")
    spent: dict[str, dict[str, float]] = {}
    for stage, kind, seconds in lines:
        own = spent.setdefault(stage, dict.fromkeys(kinds, 0.0))
        own[kind] += float(seconds)
    spent["all"] = {
        kind: sum(own[kind] for own in spent.values()) for kind in ("interpreter", "import", "load", "total")
    }
    rows = [
        "| stage | CPU s | interpreter | imports | loading | starting |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage, own in sorted(spent.items(), key=lambda item: item[1]["total"]):
        starting = own["interpreter"] + own["import"] + own["load"]
        numbers = " | ".join(f"{own[kind]:.1f}" for kind in ("total", "interpreter", "import", "load"))
        rows.append(f"| {stage} | {numbers} | {100 * starting / max(own['total'], 1e-9):.0f} % |")
    return "\n".join([f"{json.dumps(whole)}", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, help="another checkout")
    parser.add_argument("--stages", action="store_true", help="what part of each stage is starting")
    parser.add_argument("--study", choices=["made-up", "demo"], default="made-up")
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--families", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--part", type=int, default=0, help="how many of the checkpoints are made; 0: all")
    given = parser.parse_args()
    measure = demo if given.study == "demo" else made_up
    if given.stages:
        print(by_stage(measure, given))
        return
    if not given.old:
        parser.error("give --old or --stages")
    found: dict[str, list[dict]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as room:
        for _ in range(given.rounds):
            for name, checkout in (("new", REPOSITORY), ("old", given.old.absolute())):
                found[name].append(measure(checkout, Path(room), given))
                print(name, json.dumps(found[name][-1]), flush=True)
    for key in ("seconds", "cpu_seconds", "jobs"):
        old, new = (statistics.median(one[key] for one in found[name]) for name in ("old", "new"))
        print(f"{key}: {old:.0f} -> {new:.0f}, {old / max(new, 1e-9):.1f} times")


if __name__ == "__main__":
    main()
