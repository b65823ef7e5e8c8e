"""Every stage that runs a model, in every number type and whatever the processor could multiply faster."""

import json

import numpy as np
import pytest
import torch
from plain_pooling import pool
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.pooling import POOLINGS
from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.models.precision import Precision
from promptpool.models.sentence_model import sentence_model
from promptpool.pairs.semantic import similarities
from promptpool.templates import Template
from promptpool.training.rank import train_rank
from promptpool.training.validation import retrieval
from tiny import TEXTS, tiny_adapter
from tiny_export import export, parity
from tiny_training import base_model, call, same, weights, write_pairs

DTYPES = ["auto", "float32", "bfloat16"]
POSITIVES = [*TEXTS[1:], TEXTS[0]]


@pytest.fixture(params=[False, True], ids=["plain", "AMX"])
def faster(request, monkeypatch) -> bool:
    """What torch says of AMX and of AVX-512's bfloat16, both ways, on any processor."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: request.param)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param)
    return request.param


@pytest.fixture(params=[False, True], ids=["outside autocast", "inside autocast"])
def surrounding(request):
    """A caller's autocast."""
    with torch.autocast("cpu", torch.bfloat16, enabled=request.param):
        yield request.param


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_and_its_validation_run(dtype, faster, one_thread, tmp_path):
    model, pairs = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    train_rank(**call(model, pairs, tmp_path / "out", dtype=dtype, validation=0.2))
    meta = json.loads((tmp_path / "out.meta.json").read_text())
    half = dtype == "bfloat16"
    assert meta["precision"] == ("bfloat16 weights, bfloat16 autocast" if half else "float32")
    assert meta["processor"] and {w.dtype for w in weights(tmp_path / "out", 3).values()} == {torch.float32}
    train_rank(**call(model, pairs, tmp_path / "plain", dtype="float32", validation=0.2))
    assert same(*(weights(tmp_path / name, 3) for name in ("out", "plain"))) == (not half)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_held_out_accuracy_is_counted_in_float32(dtype, surrounding, base):
    model = sentence_model(str(base), Template.parse("none", "{text}"), "last", 64, dtype=dtype, device="cpu")
    assert retrieval(model, TEXTS, TEXTS) == len(TEXTS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_writes(dtype, faster, base):
    sampling = {"temperature": 0.0, "max_new_tokens": 6, "top_p": 1.0}
    wanted, found = (
        open_backend(
            "transformers",
            WriterSetup(str(base), None, sampling, {"batch_size": 4}, device="cpu", dtype=kind, needs_chat=False),
        )
        for kind in ("float32", dtype)
    )
    requests = [Request(text, seed=1, chat=False) for text in TEXTS]
    texts = [[one.text for one in backend.write(requests)] for backend in (wanted, found)]
    assert len(texts[1]) == len(TEXTS) and (dtype == "bfloat16" or texts[0] == texts[1])


@pytest.mark.parametrize("packed", [False, True], ids=["decoder", "sentence-transformers"])
def test_the_semantic_judge_is_float32(packed, faster, surrounding, base, tmp_path):
    path = base
    if packed:
        path = tmp_path / "packed"
        half = sentence_model(str(base), Template.parse("none", "{text}"), "last", 64, dtype=torch.bfloat16)
        half.save(str(path))
    found = similarities(TEXTS, POSITIVES, {"model": str(path), "pooling": "last"}, "cpu")
    with torch.autocast("cpu", enabled=False):
        rows = Embedder.load(str(path), device="cpu", dtype="float32").encode([*TEXTS, *POSITIVES], pooling="last")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(found, (rows[: len(TEXTS)] * rows[len(TEXTS) :]).sum(1), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_export_and_its_parity(dtype, faster, surrounding, base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given, dtype=dtype)
    facts = parity(out, base, adapter, dtype=dtype)
    assert facts["lowest_cosine"] >= 0.9999
    for meta in (tmp_path / "out.meta.json", tmp_path / "parity.json.meta.json"):
        told = json.loads(meta.read_text())
        assert told["precision"] == "float32" and told["processor"]


def test_an_adapter_that_a_gpu_multiplies_in_tf32_stays_beside_its_base(base, tmp_path):
    """Rounding W + BA to TF32's 10 bits would lose what few steps of tuning changed."""
    small = str(tiny_adapter(tmp_path / "small", base, scale=1e-3))
    plain = Embedder.load(str(base), small, device="cpu", dtype="float32")
    beside = Embedder.load(str(base), small, device="cpu", dtype=Precision(tf32=True))
    names = [name for name, _ in beside.backbone.model.named_parameters()]
    assert any("lora_A" in name for name in names)
    assert not any("lora_" in name for name, _ in plain.backbone.model.named_parameters())
    prompts = {"none": "{text}", "tail": "{text} is about"}
    one, other = (e.grid(TEXTS, prompts, ["mean", "attention"], [-1, 0, 1]) for e in (plain, beside))
    assert all(np.allclose(one[key], other[key], atol=1e-5) for key in one)


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_pooling_leaves_autocast(name):
    hidden, mask = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1)), torch.ones(3, 7)
    wanted = pool(name, hidden, mask, torch.full((3, 7), 1 / 7))
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(name, hidden, mask, torch.full((3, 7), 1 / 7))
    assert found.dtype == torch.float32 and torch.equal(found, wanted)
