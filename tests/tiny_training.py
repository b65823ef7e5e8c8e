"""A training small enough for a test: 48 pairs, a model of two layers, and the call that trains it."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import torch
from promptpool.artifacts.files import sidecar_path
from safetensors.torch import load_file
from tiny import tiny_model
from tiny_study import sentences

TEMPLATE = 'This sentence: "{text}" belongs to:'
SPEC = {
    "prompt": "cluster", "pooling": "last", "steps": [1, 3], "max_steps": 3, "epochs": None, "batch_size": 8,
    "negatives": "batch", "learning_rate": 0.01, "warmup_steps": 0, "temperature": 0.05, "margin": 0.0,
    "symmetric": False, "mask_duplicates": True, "group_by_length": False, "validation": 0, "quantize": None,
    "weight_decay": 0.0, "seed": 7, "tokenization": "composed", "max_text_tokens": 16, "dtype": "auto", "weights": None,
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.05, "target_modules": ["q_proj", "v_proj", "down_proj"]},
}  # fmt: skip
# A process of its own that trains: python -c CHILD '{"pairs": ...}'
CHILD = """
import json, sys
import torch
from promptpool.training.rank import train_rank
torch.set_num_threads(1)
train_rank(**json.loads(sys.argv[1]))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "workflow"), "OMP_NUM_THREADS": "1"}
PYTHON = sys.executable


def base_model(folder: Path, **changes: object) -> Path:
    return tiny_model(folder / "model", **changes)


def write_pairs(path: Path, a_topic: int = 16) -> Path:
    """48 pairs of a sentence and a like one, each of a source of its own."""
    table = sentences(9, a_topic)["text"].to_frame()
    table["positive"] = table["text"].str.replace("the", "some other")
    table.assign(style="halves", source_id=table.index.astype(str)).to_parquet(path)
    return path


def call(model: Path, pairs: Path, out: Path, execution: dict | None = None, **changes: object) -> dict:
    """Arguments of `train_rank`, all of them JSON; changes: keys of the spec."""
    return {
        "pairs": [str(pairs)], "out": str(out), "model": str(model), "revision": None, "spec": {**SPEC, **changes},
        "template": TEMPLATE, "scratch": str(out.with_name(out.name + ".scratch")), "device": "cpu",
        "execution": execution or {},
    }  # fmt: skip


def sidecar(out: Path) -> dict:
    return json.loads(sidecar_path(out).read_text(encoding="utf-8"))


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(out / f"step-{step}" / "adapter_model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def same_steps(folders: Sequence[Path], rtol: float, batch_size: int = SPEC["batch_size"]) -> None:
    """Asserts that trainings took the same steps but for rounding. It can decide a near tie: in one of all steps one
    row of the batch may be right in one training and wrong in another.
    """
    tables = [pd.read_parquet(folder / "training.parquet") for folder in folders]
    for table in tables[1:]:
        columns = ["loss", "negatives", "grad_norm"]
        pd.testing.assert_frame_equal(table[columns], tables[0][columns], rtol=rtol)
        assert np.abs(table["accuracy"] - tables[0]["accuracy"]).sum() < 1.001 / batch_size


class Fork:
    """A process that does `work` and is a fork of this one, so that it has imported all that it needs.

    out: the file of what it prints. `poll`, `wait` and `kill` are those of subprocess.Popen.
    """

    def __init__(self, work: Callable[[], object], out: str | Path = os.devnull) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._become(work, out)

    def _become(self, work: Callable[[], object], out: str | Path) -> NoReturn:
        code = 1
        try:
            torch.set_num_threads(1)
            with open(out, "w", encoding="utf-8") as said:
                sys.stdout = sys.stderr = said
                work()
            code = 0
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.005)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
