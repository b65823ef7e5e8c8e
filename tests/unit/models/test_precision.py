"""Every precision path on every machine: what a CPU could multiply faster changes no study's numbers.

Each path is forced here, whatever this machine's processor has: weights in float32 or bfloat16, autocast on or off.
"""

import dataclasses

import numpy as np
import pytest
import torch
from promptpool.attention.rows import last_rows
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone
from promptpool.models.precision import (
    EXACT,
    Precision,
    exact,
    in_words,
    inference_precision,
    processor,
    training_precision,
)
from promptpool.training.losses import InfoNCE
from promptpool.variants import POOLING_KEYS
from tiny import TEXTS, tiny_adapter, tiny_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:'}
PATHS = [Precision(weights, autocast) for weights in (torch.float32, torch.bfloat16) for autocast in (False, True)]
NAMES = [in_words(path) for path in PATHS]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("precision") / "model", layers=3))


def backbone(model: str, path: Precision, attention: str = "promptpool_tree"):
    loaded = load_backbone(model, device="cpu", dtype=path.weights, attention=attention)
    return dataclasses.replace(loaded, precision=path)


@pytest.fixture(scope="module")
def wanted(model):
    return grid(Embedder(backbone(model, EXACT), 24))


def grid(engine: Embedder) -> dict:
    return engine.grid(TEXTS, PROMPTS, list(POOLING_KEYS), [-1, 1, 0])


def close(found: dict, wanted: dict, limit: float) -> None:
    for key, rows in wanted.items():
        assert found[key].dtype == np.float32
        assert np.abs(found[key] - rows).max() <= limit * np.abs(rows).max(), key


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_pooling_and_layer_runs_on_every_path(model, wanted, path):
    close(grid(Embedder(backbone(model, path), 24)), wanted, 1e-6 if path == EXACT else 0.1)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_separate_passes_run_on_every_path(model, wanted, path):
    engine = Embedder(backbone(model, path, "eager"), 24)
    with pytest.warns(UserWarning, match="a pass of its own"):
        close(grid(engine), wanted, 1e-4 if path == EXACT else 0.1)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_attention_rows_are_float32_on_every_path(model, path):
    loaded = backbone(model, path, "eager")
    with path.products(CPU):
        found = dict(last_rows(loaded.model, [[5, 6, 7], [8, 9, 10, 11]], "all"))
    for rows in (rows for layers in found.values() for rows in layers.values()):
        assert rows.dtype == np.float32 and np.allclose(rows.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("faster", [True, False])
def test_auto_on_a_cpu_is_float32_whatever_the_processor_has(model, wanted, monkeypatch, faster):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: faster)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: faster)
    engine = Embedder.load(model, device="cpu", max_text_tokens=24)
    assert engine.backbone.precision == EXACT
    found = grid(engine)
    for key, rows in wanted.items():
        assert np.array_equal(found[key], rows), key


@pytest.mark.parametrize("surrounding", [True, False])
def test_a_callers_autocast_changes_no_vector(model, wanted, surrounding):
    engine = Embedder.load(model, device="cpu", max_text_tokens=24)
    with torch.autocast("cpu", torch.bfloat16, enabled=surrounding):
        found = grid(engine)
    for key, rows in wanted.items():
        assert np.array_equal(found[key], rows), key


@pytest.mark.parametrize("surrounding", [True, False])
def test_the_loss_leaves_autocast(surrounding):
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(8).view(4, 2)
    loss = InfoNCE(torch.nn.Identity(), 0.05)
    plain = loss.calculate_loss([[rows], [rows.flip(1)]], ids)
    with torch.autocast("cpu", torch.bfloat16, enabled=surrounding):
        inside = loss.calculate_loss([[rows], [rows.flip(1)]], ids)
    assert inside.dtype == torch.float32 and torch.equal(inside, plain)


def test_products_inside_exact_are_float32_whatever_surrounds_them():
    left, right = torch.randn(8, 64), torch.randn(64, 8)
    before = torch.get_float32_matmul_precision()
    with Precision(autocast=True, tf32=True).products(CPU):
        assert (left @ right).dtype == torch.bfloat16 and torch.get_float32_matmul_precision() == "high"
        with exact(CPU):
            assert torch.equal(left @ right, torch.matmul(left, right)) and (left @ right).dtype == torch.float32
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_auto_keeps_float32_weights_on_a_gpu_and_trains_in_bfloat16_there():
    assert inference_precision("auto", GPU) == Precision(torch.float32, tf32=True)
    assert inference_precision("bfloat16", GPU).weights == torch.bfloat16
    assert training_precision("auto", GPU) == Precision(torch.bfloat16, autocast=True)
    assert training_precision("auto", CPU) == inference_precision("auto", CPU) == EXACT


def test_torchs_own_objects_are_taken_for_device_and_dtype(model, wanted):
    engine = Embedder.load(model, device=CPU, dtype=torch.float32, max_text_tokens=24)
    assert np.array_equal(grid(engine)["none", "mean", -1], wanted["none", "mean", -1])


@pytest.mark.parametrize("dtype", ["bf16", "int8", torch.int32, "nn"])
def test_a_dtype_that_is_none_is_refused_by_name(model, dtype):
    with pytest.raises(PromptpoolError, match=r"dtype: .* write auto, float32 or bfloat16"):
        Embedder.load(model, device="cpu", dtype=dtype)


def test_a_small_tuning_that_bfloat16_would_lose_is_refused_and_a_large_one_is_not(model, tmp_path):
    small, large = (tiny_adapter(tmp_path / name, model, scale=scale) for name, scale in (("s", 1e-5), ("l", 1.0)))
    with pytest.raises(PromptpoolError, match="of what tuning changed is left"):
        load_backbone(model, adapter=small, device="cpu", dtype="bfloat16")
    assert load_backbone(model, adapter=large, device="cpu", dtype="bfloat16").kept > 0.9
    assert load_backbone(model, adapter=small, device="cpu").kept == 1.0


def test_a_sidecar_can_name_the_processor():
    assert torch.backends.cpu.get_cpu_capability() in processor(CPU)
