"""A set of pairs through Snakemake and vLLM: the worker is killed in the middle, and the next run goes on."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import yaml
from promptpool.generation.vllm_backend import interpreter
from tiny_study import REPOSITORY, sentences, snakemake, snakemake_command, study

TARGET = "results/tiny/pairs/written/pairs.parquet"
SHARDS = "results/tiny/pairs/written/shards/*/*.parquet"


def config() -> dict:
    changed = study()
    changed["models"]["writer"] = {"path": str(REPOSITORY / "workflow/resources/nano-docs")}
    changed["backends"] = {"vllm": {"python": interpreter(None), "max_model_len": 256}}
    changed["pairs"]["written"] = {
        "corpus": "lines", "styles": ["continue", "word-swap"], "backend": "vllm", "model": "writer",
        "max_new_tokens": 24, "shard_size": 60,
    }  # fmt: skip
    return changed


def prepare(folder: Path) -> Path:
    folder.mkdir()
    sentences(1, 12).to_csv(folder / "labelled.csv", index=False)
    sentences(2, 400)[["text"]].to_csv(folder / "corpus.csv", index=False)
    (folder / "model").symlink_to(REPOSITORY / "workflow/resources/nano-docs")
    (folder / "study.yaml").write_text(yaml.safe_dump(config(), sort_keys=False))
    return folder


def written(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results/tiny/pairs/written/written.parquet")


def kill_worker_after(folder: Path, shards: int) -> subprocess.CompletedProcess:
    """Runs the target and kills -9 the worker once so many shards are there."""
    running = subprocess.Popen(
        snakemake_command(folder, TARGET), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 300
    while len([*folder.glob(SHARDS)]) < shards:
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()[0]
        time.sleep(0.02)
    os.kill(workers(folder)[0], signal.SIGKILL)
    out, _ = running.communicate(timeout=300)
    return subprocess.CompletedProcess(running.args, running.returncode, out)


def workers(folder: Path) -> list[int]:
    """The worker processes whose working directory is the study's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").resolve() == folder.resolve()
            if inside and b"vllm_worker.py" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_worker_killed_in_the_middle_costs_its_shard_alone(tmp_path):
    whole = prepare(tmp_path / "whole")
    assert snakemake(whole, TARGET).returncode == 0
    cut = prepare(tmp_path / "cut")
    broken = kill_worker_after(cut, shards=2)
    told = [line for line in broken.stdout.splitlines() if line.startswith("Error: ") and "vllm" in line.lower()]
    assert broken.returncode != 0 and len(told) == 1, broken.stdout
    assert workers(cut) == []
    kept = {path: path.stat().st_mtime_ns for path in cut.glob(SHARDS)}
    assert 2 <= len(kept) < len([*whole.glob(SHARDS)])
    again = snakemake(cut, TARGET)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # finished shards were not written again
    first, second = written(whole), written(cut)
    assert second["source_id"].is_unique
    assert second["source_id"].tolist() == first["source_id"].tolist()
    # A text's seed is its own; what else is in the batch may still tip a rounding.
    assert (first["positive"] == second["positive"]).mean() > 0.95
    assert first["tokens"].sum() > 0
