"""Two processes that share every batch (gloo, on the CPU) train what one process trains."""

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from promptpool.errors import PromptpoolError
from promptpool.models import backbone
from promptpool.training import packed
from promptpool.training import train_adapter as ranks
from promptpool.training.rank import train_rank
from tiny_training import SPEC, Fork, base_model, call, same_steps, weights, write_pairs

# Masks that reach across ranks, both directions, more than one chunk a rank, and no dropout, whose draws differ.
RECIPE = {
    "lora": {**SPEC["lora"], "dropout": 0.0},
    "symmetric": True,
    "margin": 0.1,
    "batch_size": 40,
    "validation": 0.2,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    path = write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet", 20)
    table = pd.read_parquet(path)
    pd.concat([table.head(30), table.head(30)], ignore_index=True).to_parquet(path)
    return path


def forked(command: Sequence[str], **_: object) -> subprocess.CompletedProcess:
    """Two ranks as the launcher starts them, but forks of this process: they need not import all libraries again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}

    def work(rank: str) -> None:
        os.environ.update(shared, RANK=rank, LOCAL_RANK=rank, ACCELERATE_MIXED_PRECISION="no")
        AcceleratorState._reset_state(True)  # this process has trained alone
        ranks.main(command[-1])

    children = [Fork(lambda rank=rank: work(rank)) for rank in ("0", "1")]
    return subprocess.CompletedProcess(command, max(child.wait() for child in children))


@pytest.mark.parametrize(
    ("execution", "layer", "launcher", "packs"),
    [({}, -1, subprocess.run, False), ({"micro_batch_size": 5}, 1, forked, False), ({}, -1, forked, True)],
    ids=["one pass", "cached, inner layer", "in a row, as on GPUs"],
)
def test_two_ranks_train_what_one_process_trains(
    model, pairs, tmp_path, monkeypatch, execution, layer, launcher, packs
):
    """Loss, gradient norm and counts of every step, and the weights after three, within float32's rounding."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(packed, "PACKS_ON", {"cpu": packs})
    monkeypatch.setattr(ranks, "subprocess", SimpleNamespace(run=launcher))
    recipe = {**RECIPE, "layer": layer}
    train_rank(**call(model, pairs, tmp_path / "one", execution, **recipe))
    ranks.launch(call(model, pairs, tmp_path / "two", execution, **recipe), 2)
    same_steps([tmp_path / "one", tmp_path / "two"], rtol=1e-4, batch_size=RECIPE["batch_size"])
    one = pd.read_parquet(tmp_path / "one/training.parquet")
    assert (one["negatives"] < 39).all()  # some were masked
    for name, wanted in weights(tmp_path / "one", 3).items():
        torch.testing.assert_close(weights(tmp_path / "two", 3)[name], wanted, rtol=1e-2, atol=1e-4)
    one, two = (pd.read_parquet(tmp_path / name / "validation.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(two, one)
    told = json.loads((tmp_path / "two.meta.json").read_text())
    assert told["ranks"] == 2 and told["packed"] is packs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one.meta.json", "two", "two.meta.json"]


def test_a_ranks_fault_is_told_in_one_line(model, pairs, tmp_path, monkeypatch):
    """The rank leaves it in the scratch, and the process that waits raises it."""
    job = call(model, pairs, tmp_path / "x", batch_size=100)

    def run(command, **_):
        assert command[1:4] == ["-m", "accelerate.commands.launch", "--multi_gpu"]
        with pytest.raises(SystemExit) as ended:
            ranks.main(command[-1])
        return subprocess.CompletedProcess(command, ended.value.code)

    monkeypatch.setattr(ranks.subprocess, "run", run)
    with pytest.raises(PromptpoolError, match="pairs are fewer than one batch of 100"):
        ranks.launch(job, 2)


def test_a_rank_that_dies_without_a_word_points_to_the_log(model, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(ranks.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, -9))
    with pytest.raises(PromptpoolError, match="x: a rank ended with code -9; its log has the reason"):
        ranks.launch(call(model, pairs, tmp_path / "x"), 2)


def test_a_cpu_trains_in_one_process_and_missing_gpus_are_named(model, pairs, tmp_path, monkeypatch):
    job = call(model, pairs, tmp_path / "x", steps=[1], max_steps=1)
    monkeypatch.setattr(ranks, "launch", lambda *_: pytest.fail("no ranks on a CPU"))
    ranks.train_adapter(**job, gpus=4)
    assert (tmp_path / "x" / "step-1").is_dir()
    monkeypatch.setattr(backbone, "pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(PromptpoolError, match="gpus: 4 are asked for and 1 can be seen; lower gpus"):
        ranks.train_adapter(**job, gpus=4)


def test_a_batch_that_ranks_cannot_share_is_one_line(model, pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(PromptpoolError, match="a batch of 8 can't be shared by 3 GPUs; change batch_size or gpus"):
        train_rank(**call(model, pairs, tmp_path / "x"))
