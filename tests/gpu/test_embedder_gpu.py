"""The engine on a GPU gives what it gives on a CPU: in float32, in bfloat16, and in `auto` with an adapter."""

import numpy as np
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.models.precision import in_words
from tiny import TEXTS, tiny_adapter, tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; none is visible"),
]
PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
MANY = [f"{text} {number}" for number in range(8) for text in TEXTS]
POOLINGS = ["mean", "last", "eos", "weighted", "max", "concat", "attention", "mean:text"]


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2", "gemma2"])
def test_vectors_are_those_of_the_cpu(tmp_path, architecture):
    path = str(tiny_model(tmp_path / "model", architecture))
    grids = [
        Embedder.load(path, device=device, dtype="float32").grid(MANY, PROMPTS, POOLINGS, [-1, 0.5])
        for device in ("cpu", "cuda")
    ]
    for key, wanted in grids[0].items():
        assert np.abs(grids[1][key] - wanted).max() <= 1e-3 * np.abs(wanted).max(), key


def test_bfloat16_is_close_and_the_budget_grows(tmp_path):
    path = str(tiny_model(tmp_path / "model"))
    engine = Embedder.load(path, device="cuda", dtype="bfloat16")
    assert engine.backbone.model.dtype == torch.bfloat16 and engine.batches.takes_trees
    start = engine.batches.budget.tokens
    found = engine.encode([f"{text} {number}" for number in range(500) for text in TEXTS], PROMPTS["eol"])
    assert np.isfinite(found).all() and engine.batches.budget.tokens > start


def test_auto_multiplies_float32_weights_as_tf32_and_leaves_the_adapter_beside_them(tmp_path):
    model = tiny_model(tmp_path / "model")
    adapter = str(tiny_adapter(tmp_path / "step-3", model))
    gpu, cpu = (Embedder.load(str(model), adapter, device=device) for device in ("cuda", "cpu"))
    assert in_words(gpu.backbone.precision) == "float32 weights, TF32 products" and gpu.backbone.kept == 1
    assert any("lora_A" in name for name, _ in gpu.backbone.model.named_parameters())
    assert not any("lora_A" in name for name, _ in cpu.backbone.model.named_parameters())
    found, wanted = (engine.grid(MANY, PROMPTS, ["mean", "last"]) for engine in (gpu, cpu))
    for key, vectors in wanted.items():
        assert np.abs(found[key] - vectors).max() <= 1e-2 * np.abs(vectors).max(), key
