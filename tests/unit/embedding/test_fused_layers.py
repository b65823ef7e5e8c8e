"""Compiled layers give the vectors of plain ones, from few graphs, and a compiler that fails costs a warning alone."""

import warnings

import numpy as np
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.models import fused_layers
from promptpool.models.fused_layers import FusedLayers, worth_fusing
from promptpool.models.precision import Precision
from tiny import TEXTS, tiny_adapter, tiny_model
from torch import _dynamo as dynamo
from torch._inductor.exc import InductorError

PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
POOLINGS = ["mean", "last", "eos", "attention"]
LAYERS = [-1, 0.5, 0]
MANY = [f"{text} {number}" for number in range(3) for text in TEXTS]
CLOSE, GRAPHS = 1e-5, 8


@pytest.fixture
def fresh():
    """Nothing compiled yet, and the counters at zero."""
    dynamo.reset()
    dynamo.utils.counters.clear()
    yield
    dynamo.reset()


def close(found: dict, wanted: dict) -> bool:
    return all(np.abs(found[key] - wanted[key]).max() <= CLOSE * np.abs(wanted[key]).max() for key in wanted)


def test_all_shapes_of_a_study_share_a_few_graphs(tmp_path, fresh):
    path = tiny_model(tmp_path / "model", layers=10)
    adapter = str(tiny_adapter(tmp_path / "step-1", path))
    how = {"device": "cpu", "dtype": Precision(tf32=True), "token_budget": 200}  # an adapter beside the weights
    wanted = Embedder.load(str(path), adapter, **how).grid(MANY, PROMPTS, POOLINGS, LAYERS)
    engine = Embedder.load(str(path), adapter, **how, fuse=True)
    found = engine.grid(MANY, PROMPTS, POOLINGS, LAYERS)
    engine.grid(["a"], {"none": "{text}"}, ["mean"])
    engine.grid(MANY[:2], {"long": 'A much longer prompt, of another number of tokens: "{text}"'}, ["last"], [3])
    assert engine.batches.fused.works and close(found, wanted)
    assert 0 < dynamo.utils.counters["stats"]["unique_graphs"] <= GRAPHS


def failing(*_args, **_more):
    raise InductorError(RuntimeError("no compiler here"), None)


@pytest.mark.parametrize("after", [0, 1], ids=["before the attention", "after the attention"])
def test_a_compiler_that_fails_is_one_warning_and_the_same_vectors(tmp_path, monkeypatch, after):
    """The second graph of a layer fails when the attention's rows are recorded already."""
    path = str(tiny_model(tmp_path / "model"))
    wanted = Embedder.load(path, device="cpu").grid(MANY, PROMPTS, POOLINGS, LAYERS)

    def compile_(plain, dynamic, options):
        return lambda *args, **kwargs: (plain(*args, **kwargs) if after else None, failing())

    monkeypatch.setattr(torch, "compile", compile_)
    engine = Embedder.load(path, device="cpu", fuse=True)
    with pytest.warns(
        UserWarning, match="its layers are not fused, torch.compile fails here .*no compiler here"
    ) as told:
        found = engine.grid(MANY, PROMPTS, POOLINGS, LAYERS)
    assert len([one for one in told if "fused" in str(one.message)]) == 1
    assert not engine.batches.fused.works and close(found, wanted)


def test_an_error_of_the_model_is_not_taken_for_the_compilers(tmp_path, monkeypatch):
    def compile_(plain, dynamic, options):
        def broken(*args, **kwargs):
            raise RuntimeError("shapes do not match")

        return broken

    monkeypatch.setattr(torch, "compile", compile_)
    engine = Embedder.load(str(tiny_model(tmp_path / "model")), device="cpu", fuse=True)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine.grid(MANY, PROMPTS, ["mean"])


def test_layers_are_compiled_where_the_work_is_worth_it(tmp_path):
    engine = Embedder.load(str(tiny_model(tmp_path / "model")), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.grid(MANY, PROMPTS, ["mean"])
    assert engine.batches.fused is None  # a CPU is asked
    model = engine.backbone.model
    weights = sum(weight.numel() for layer in model.layers for weight in layer.parameters())
    tokens = int(fused_layers.WORTH_SECONDS * fused_layers.GPU_FLOPS / (2 * weights))
    assert worth_fusing(model, 2 * tokens) and not worth_fusing(model, tokens // 2)


def test_fused_layers_can_be_undone(tmp_path):
    engine = Embedder.load(str(tiny_model(tmp_path / "model")), device="cpu")
    FusedLayers(engine.backbone.model).undo()
    assert all("forward" not in vars(layer) for layer in engine.backbone.model.layers)
