"""How long a dry run takes, by the size of a study: the table of docs/explanation/measured/scaling.md.

    python tests/bench/bench_dag.py --json dag.json          # every size; --sizes paper 1000x10 for some

Each row is a dry run of a made-up study in a process of its own. CPU seconds are the process's own:
on a busy machine they say more than the clock. A variant is model x adapter x prompt x pooling x layer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
# Adapters' checkpoints (and base), families of prompts, prompts a family, poolings, layers: variants. Then tasks.
SIZES = {
    "100x10": (5, 2, 2, 5, 1, 10),
    "1000x10": (10, 5, 4, 5, 1, 10),
    "1000x50": (10, 5, 4, 5, 1, 50),
    "10000x10": (40, 5, 5, 5, 2, 10),
    "10000x50": (40, 5, 5, 5, 2, 50),
}
POOLINGS = ["mean", "last", "eos", "weighted", "attention", "max"]


def study(states: int, families: int, prompts: int, poolings: int, layers: int, tasks: int) -> dict:
    """A config of that many variants. Its files need not hold more than two lines: nothing is run."""
    named = {f"p{f}-{p}": f'Family {f}: "{{text}}" ends {p}' for f in range(families) for p in range(prompts)}
    adapter = {"model": "m", "pairs": ["halves"], "prompt": "p0-0", "pooling": "last", "batch_size": 8}
    steps = list(range(10, 10 * states, 10))  # and base
    return {
        "run": "bench",
        "device": "cpu",
        "models": {"m": {"path": str(REPOSITORY / "workflow/resources/nano-docs")}},
        "corpora": {"lines": {"source": "file", "path": "texts.csv"}},
        "pairs": {"halves": {"corpus": "lines", "styles": ["halves"]}},
        "adapters": {"a": {**adapter, "steps": steps, "max_steps": steps[-1]}},
        "prompts": named,
        "grid": {
            "models": ["m"], "adapters": "all", "prompts": list(named), "poolings": POOLINGS[:poolings],
            "layers": [-1, 0][:layers],
        },
        "tasks": {f"t{n}": {"source": "file", "path": "texts.csv"} for n in range(tasks)},
        "baselines": {"random": {"kind": "random"}},
    }  # fmt: skip


def measure(folder: Path, config: Path, target: str) -> dict:
    """Seconds of CPU and of the clock, peak memory in MB, and jobs, of one dry run."""
    command = [
        sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--cores", "2", "--snakefile",
        str(REPOSITORY / "Snakefile"), "--directory", str(folder), "--configfile", str(config), "--", target,
    ]  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow"), "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    with open(folder / "out.txt", "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environ)
        _, status, usage = os.wait4(process.pid, 0)
    printed = (folder / "out.txt").read_text()
    assert status == 0, printed[-3000:]
    counts = [line.split() for line in printed.splitlines() if line.startswith("total ")]
    return {
        "jobs": int(counts[0][1]),
        "cpu": round(usage.ru_utime + usage.ru_stime, 1),
        "clock": round(time.monotonic() - start, 1),
        "mb": round(usage.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=["paper", *SIZES], default=["paper", *SIZES])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--target", default="scores", help="what is asked for; of one task: its files")
    asked = parser.parse_args()
    found = {}
    print(f"{'study':>10}  {'jobs':>7}  {'CPU s':>7}  {'clock s':>7}  {'MB':>6}")
    for size in asked.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "texts.csv").write_text("text,label\n" + "".join(f"text {n},{n % 3}\n" for n in range(30)))
            config = REPOSITORY / "config.yaml"
            if size != "paper":
                config = folder / "study.yaml"
                config.write_text(yaml.safe_dump(study(*SIZES[size])))
            row = found[size] = measure(folder, config, "all" if size == "paper" else asked.target)
        print(f"{size:>10}  {row['jobs']:>7}  {row['cpu']:>7}  {row['clock']:>7}  {row['mb']:>6}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
