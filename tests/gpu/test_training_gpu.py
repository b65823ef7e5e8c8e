"""What training does on a GPU alone: bfloat16 and four-bit bases, its own memory's budget, a kill and a resume."""

import importlib.util

import pandas as pd
import pytest
import torch
from promptpool.training import packed
from promptpool.training.rank import train_rank
from tiny_training import SPEC, base_model, call, sidecar, weights, write_pairs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA sees"),
]
RECIPE = {"lora": {**SPEC["lora"], "dropout": 0.0}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet")


def train(model, pairs, out, device="cuda", execution=None, **changes) -> pd.DataFrame:
    train_rank(**{**call(model, pairs, out, execution, **{**RECIPE, **changes}), "device": device})
    return pd.read_parquet(out / "training.parquet")


def test_float32_trains_what_a_cpu_trains(model, pairs, tmp_path):
    gpu, cpu = (train(model, pairs, tmp_path / place, place, dtype="float32") for place in ("cuda", "cpu"))
    columns = ["loss", "negatives", "grad_norm"]
    pd.testing.assert_frame_equal(gpu[columns], cpu[columns], rtol=1e-2)


def test_auto_trains_on_a_bfloat16_base_and_its_adapter_is_float32(model, pairs, tmp_path):
    half, full = (train(model, pairs, tmp_path / dtype, dtype=dtype) for dtype in ("auto", "float32"))
    assert half["loss"].to_numpy() == pytest.approx(full["loss"].to_numpy(), rel=0.1)
    assert {weight.dtype for weight in weights(tmp_path / "auto", 3).values()} == {torch.float32}


@pytest.mark.parametrize("execution", [{"gradient_checkpointing": True}, {"micro_batch_size": 3}])
def test_less_memory_trains_the_same(model, pairs, tmp_path, execution):
    less, more = (train(model, pairs, tmp_path / str(i), execution=how) for i, how in enumerate((execution, None)))
    assert less["loss"].to_numpy() == pytest.approx(more["loss"].to_numpy(), rel=0.05)


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_texts_in_one_row_train_what_padded_ones_train(model, pairs, tmp_path, monkeypatch, dtype):
    row = train(model, pairs, tmp_path / "row", dtype=dtype)
    monkeypatch.setattr(packed, "PACKS_ON", {"cuda": False})
    padded = train(model, pairs, tmp_path / "padded", dtype=dtype)
    assert [sidecar(tmp_path / name)["packed"] for name in ("row", "padded")] == [True, False]
    assert row["loss"].to_numpy() == pytest.approx(padded["loss"].to_numpy(), rel=1e-2 if dtype == "float32" else 0.05)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_a_four_bit_base_trains(model, pairs, tmp_path):
    table = train(model, pairs, tmp_path / "x", quantize="4bit")
    assert table["loss"].notna().all()


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="needs flash-attn")
def test_flash_attention_trains_what_sdpa_trains(model, pairs, tmp_path):
    flash = train(model, pairs, tmp_path / "flash", execution={"attention": "flash_attention_2"})
    sdpa = train(model, pairs, tmp_path / "sdpa")
    assert flash["loss"].to_numpy() == pytest.approx(sdpa["loss"].to_numpy(), rel=0.1)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_what_one_trains(model, pairs, tmp_path):
    from promptpool.training.train_adapter import train_adapter

    for name, gpus in (("one", 1), ("two", 2)):
        train_adapter(**{**call(model, pairs, tmp_path / name, **RECIPE, dtype="float32"), "device": "cuda"}, gpus=gpus)
    one, two = (pd.read_parquet(tmp_path / name / "training.parquet")["loss"] for name in ("one", "two"))
    assert two.to_numpy() == pytest.approx(one.to_numpy(), rel=1e-2)
