"""The engine on a GPU gives what it gives on a CPU."""

import numpy as np
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from tiny import TEXTS, tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; none is visible"),
]
PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
MANY = [f"{text} {number}" for number in range(50) for text in TEXTS]
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
    found = engine.encode([f"{text} {number}" for number in range(2000) for text in TEXTS], PROMPTS["eol"])
    assert np.isfinite(found).all() and engine.batches.budget.tokens > start
