"""Faults around the jobs: Snakemake killed, two of them at once, and servers and workers that fail while they write.

Used by harness.py; each function gives (fault, stage, outcome, why).
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from promptpool.artifacts.files import remove
from tiny_study import snakemake, snakemake_command

GONE = ("scores.parquet", "scores/small/tuned@4", "embeddings/small/tuned@4", "report.html", "ablations")
STAGE = "a whole study"
Outcome = tuple[str, str, str, str]


def killed_snakemake(tree: Path, reference: Path, draw: random.Random, same) -> Outcome:
    """Snakemake ended by a signal at a random moment; unlocked, and run again."""
    kill = draw.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    _take_away(tree, draw)
    child = _started(tree)
    time.sleep(draw.uniform(2, 25))
    # Ctrl-C reaches the whole group, the others Snakemake alone: its jobs outlive it.
    (os.killpg if kill == signal.SIGINT else os.kill)(child.pid, kill)
    child.wait(300)
    return _again(f"Snakemake {kill.name}", tree, reference, same)


def two_snakemakes(tree: Path, reference: Path, draw: random.Random, same) -> Outcome:
    """A second one on the same tree is refused, and harms nothing."""
    _take_away(tree, draw)
    first = _started(tree)
    time.sleep(draw.uniform(0, 3))
    second = snakemake(tree)
    first.wait(600)
    told = second.stdout + second.stderr
    # Where both pass the lock in the same instant, a job of one may find a file gone that the other makes anew.
    # Snakemake itself then refuses by the names of files that the first one's jobs are still writing.
    named = "cannot be locked" in told or "IncompleteFilesException" in told
    named |= any(line.startswith("Error: results/") for line in told.splitlines())
    if second.returncode and not named:
        return "two Snakemakes", STAGE, "UNNAMED", told
    return _again("two Snakemakes", tree, reference, same)


def _take_away(tree: Path, draw: random.Random) -> None:
    for name in draw.sample(GONE, 3):
        remove(tree / "results/tiny" / name)


def _started(tree: Path) -> subprocess.Popen:
    out = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(snakemake_command(tree), start_new_session=True, **out)


def _again(fault: str, tree: Path, reference: Path, same) -> Outcome:
    snakemake(tree, "--unlock")
    answer = snakemake(tree, "--rerun-incomplete")
    if answer.returncode:
        lines = (answer.stdout + answer.stderr).splitlines()
        told = [line for at, line in enumerate(lines) if "Error" in " ".join(lines[max(0, at - 12) : at + 1])]
        return fault, STAGE, "LOST", "\n".join(told)[:1500]
    told = same(tree / "results/tiny/scores.parquet", reference / "results/tiny/scores.parquet")
    return fault, STAGE, "SILENT" if told else "healed", told or ""


def copied(reference: Path, tree: Path) -> Path:
    """A copy that Snakemake holds for up to date."""
    remove(tree)
    return Path(shutil.copytree(reference, tree, symlinks=True))


# --- who writes the pairs ------------------------------------------------------------------------

WORKER = """
import json, os, random, signal, sys
draw, mortal = random.Random({seed}), {mortal}
for line in sys.stdin:
    message = json.loads(line)
    if "open" in message:
        print(json.dumps({{"ready": {{}}}}), flush=True)
    elif "write" in message:
        for number, (text, chat, seed) in enumerate(message["write"]):
            if mortal and draw.random() < 0.1:
                os.kill(os.getpid(), signal.SIGKILL)
            print(json.dumps({{"done": [[number, text.upper() + str(seed % 10), 3, 4, True]]}}), flush=True)
    else:
        break
"""


def worker(path: Path, seed: int, mortal: bool) -> str:
    """An interpreter that runs, whatever it is given, a stand-in for vLLM's worker; `mortal` ones die at random."""
    code = path.with_suffix(".py")
    code.write_text(WORKER.format(seed=seed, mortal=mortal))
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{code}"\n')
    path.chmod(0o755)
    return str(path)


SERVER = """
import json, random, sys, time
from fake_openai import fake_openai
draw, share = random.Random(int(sys.argv[1])), float(sys.argv[2])
steps = [429, 500, 503, "drop", "html", "fields", (429, {"Retry-After": "1"}), 404, 401]
with fake_openai() as server:
    server.plan.extend(draw.choice(steps[: 7 if draw.random() < 0.9 else 9]) if draw.random() < share else None
                       for _ in range(400))
    print(server.url, flush=True)
    time.sleep(600)
"""


def failed_rows(written: Path, wanted: Path) -> bool:
    """Whether rows differ for one reason alone: no try had an answer, though the server answers others."""
    mine, theirs = pd.read_parquet(written), pd.read_parquet(wanted)
    kept = mine["reason"] != "failed"
    columns = ["text", "positive", "style", "source_id", "reason"]
    return mine["source_id"].equals(theirs["source_id"]) and mine[kept][columns].equals(theirs[kept][columns])


def server(seed: int, share: float) -> tuple[subprocess.Popen, str]:
    """A server in a process of its own, which answers that share of its requests badly; its process and address."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", SERVER, str(seed), str(share)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    return child, child.stdout.readline().strip()
