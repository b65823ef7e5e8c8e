"""A job that embeds decides once, for all its files, whether the layers are compiled; the config can decide for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from promptpool.embedding.batches import FamilyBatches
from promptpool.embedding.embed_checkpoint import embed_checkpoint
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.parallel_embedder import Grid, ParallelEmbedder, run_facts
from promptpool.embedding.vector_file import read_vectors
from promptpool.models.checkpoint import Checkpoint
from tiny import TEXTS, tiny_model

FAMILIES = {"this": {"eol": 'This: "{text}" means', "sum": 'This: "{text}" is'}, "none": {"none": "{text}"}}
COUNTS = {"large": 300, "small": 3}


@pytest.fixture
def job(tmp_path) -> dict:
    paths = {}
    for task, count in COUNTS.items():
        paths[task] = str(tmp_path / f"{task}.parquet")
        pd.DataFrame({"text": [f"{TEXTS[n % len(TEXTS)]} {task} {n}" for n in range(count)]}).to_parquet(paths[task])
    return {
        "out": str(tmp_path / "all.json"), "texts": paths, "families": FAMILIES,
        "checkpoint": Checkpoint(str(tiny_model(tmp_path / "model")), device="cpu", dtype="float32"),
        "grid": Grid(["mean", "last"], [-1], 32),
    }  # fmt: skip


def facts(job: dict) -> list[dict]:
    files = sorted(Path(job["out"]).parent.glob("*/*.safetensors.meta.json"))
    return [json.loads(file.read_text()) for file in files]


def test_all_files_of_a_job_share_one_decision_by_its_whole_work(job, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(FamilyBatches, "worth_fusing", lambda self, tokens: bool(asked.append(tokens())))
    embed_checkpoint(**job)
    assert len(asked) == 1
    assert asked[0] == pytest.approx(sum(one["tokens"] for one in facts(job)), rel=0.02)  # known from a sample
    assert [one["fused_layers"] for one in facts(job)] == [False] * 4
    embed_checkpoint(**job | {"families": FAMILIES | {"more": {"more": 'More: "{text}"'}}})
    assert len(asked) == 2 and asked[1] < asked[0] / 2  # of the missing files alone


def test_processes_share_the_work_and_the_decision(job, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(FamilyBatches, "worth_fusing", lambda self, tokens: bool(asked.append(tokens())))
    texts = pd.read_parquet(job["texts"]["large"])["text"].tolist()
    files = [(texts, FAMILIES["this"])]
    for workers in (1, 2):
        ParallelEmbedder(job["checkpoint"], job["grid"], workers).decide_fusing(files)
    assert asked[1] == asked[0] // 2
    decided = ParallelEmbedder(job["checkpoint"], job["grid"], 2, fuse=True)
    decided.decide_fusing(files)
    assert len(asked) == 2 and decided.fuse and decided.embedder.fuse


def test_the_config_switches_it_on_and_off_and_the_vectors_stay(job, tmp_path):
    found = {}
    for fuse in (False, True):
        out = tmp_path / f"fused {fuse}" / "all.json"
        embed_checkpoint(**job | {"out": str(out), "fuse": fuse})
        found[fuse] = {path.name: read_vectors(path) for path in out.parent.glob("large/*.safetensors")}
        told = [json.loads(path.read_text()) for path in out.parent.glob("*/*.safetensors.meta.json")]
        assert [one["fused_layers"] for one in told] == [fuse] * 4
    for name, plain in found[False].items():
        for key in plain:
            assert np.abs(found[True][name][key] - plain[key]).max() <= 1e-5 * np.abs(plain[key]).max()
    before = [os.stat(path).st_mtime_ns for path in Path(out).parent.glob("*/*.safetensors")]
    embed_checkpoint(**job | {"out": str(out), "fuse": False})  # another value makes nothing again
    assert before == [os.stat(path).st_mtime_ns for path in Path(out).parent.glob("*/*.safetensors")]


NO_COMPILER = """
import json, sys, warnings
import numpy as np
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.parallel_embedder import Grid, run_facts

model, texts = sys.argv[1], json.loads(sys.argv[2])
wanted = Embedder.load(model, device="cpu", fuse=False).grid(texts, {"none": "{text}"}, ["mean"])
engine = Embedder.load(model, device="cpu", fuse=True)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(2):
        found = engine.grid(texts, {"none": "{text}"}, ["mean"])
((key, vectors),) = found.items()
close = bool(np.allclose(vectors, wanted[key], rtol=1e-5, atol=1e-6))
fused = run_facts(engine, Grid(["mean"], [-1], 32))["fused_layers"]
print(json.dumps([close, fused, [str(one.message) for one in told if "fused" in str(one.message)]]))
"""


def test_a_machine_without_a_compiler_is_one_warning_and_the_same_vectors(tmp_path):
    """The real compiler of torch, which finds no program to call."""
    surroundings = os.environ | {
        "CXX": str(tmp_path / "no-such-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }  # fmt: skip
    arguments = [sys.executable, "-c", NO_COMPILER, str(tiny_model(tmp_path / "model")), json.dumps(TEXTS)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, env=surroundings)
    assert done.returncode == 0, done.stderr
    close, fused, told = json.loads(done.stdout.splitlines()[-1])
    assert close and not fused
    assert len(told) == 1 and "its layers are not fused, torch.compile fails here" in told[0]


def test_a_run_says_whether_its_layers_were_fused(tmp_path):
    engine = Embedder.load(str(tiny_model(tmp_path / "model")), device="cpu")
    assert run_facts(engine, Grid(["mean"], [-1], 32))["fused_layers"] is False
