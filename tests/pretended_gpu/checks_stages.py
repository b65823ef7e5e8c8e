"""The other stages that run a model, on a pretended GPU: equal to the CPU, also where memory runs out on the way."""

from pretended_gpu.device import out_of_memory, pretended_gpu  # isort: skip  (before torch)

import device_stages as stages
import numpy as np
import pytest
import torch
from promptpool.attention import rows as attention_rows
from promptpool.generation.transformers_backend import SeededSampling
from promptpool.models.sentence_model import sentence_model
from promptpool.templates import Template
from tiny import tiny_adapter, tiny_model

CLOSE = 1e-5


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("stages") / "model", initializer_range=0.1)


def test_joint_tokenization(model):
    with pretended_gpu():
        found = stages.joint_vectors(model, "cuda:0")
    assert stages.close(found, stages.joint_vectors(model, "cpu"), CLOSE)


def test_separate_passes(tmp_path):
    model = tiny_model(tmp_path / "model", "bloom")
    with pretended_gpu():
        found = stages.separate_vectors(model, "cuda:0")
    assert stages.close(found, stages.separate_vectors(model, "cpu"), CLOSE)


def test_an_adapter_stays_beside_the_weights(model, tmp_path):
    adapter = str(tiny_adapter(tmp_path / "step-3", model))
    with pretended_gpu():
        engine = stages.Embedder.load(str(model), adapter, device="cuda:0")
        found = engine.grid(stages.TEXTS, stages.PROMPTS, ["mean", "last"])
    assert engine.backbone.precision.tf32 and any(
        "lora_A" in name for name, _ in engine.backbone.model.named_parameters()
    )
    wanted = stages.Embedder.load(str(model), adapter, device="cpu").grid(
        stages.TEXTS, stages.PROMPTS, ["mean", "last"]
    )
    assert stages.close(found, wanted, CLOSE)


def test_a_batch_that_finds_no_room_is_halved(model):
    engine = stages.Embedder.load(str(model), device="cpu", dtype="float32")
    wanted = engine.grid(stages.TEXTS, stages.PROMPTS, ["mean", "last"])
    with pretended_gpu():
        engine = stages.Embedder.load(str(model), device="cuda:0", dtype="float32", token_budget=400)
        assert engine.batches.takes_trees
        with out_of_memory("silu", first=5) as full:  # of two layers' calls: after the heads, in a batch of texts
            found = engine.grid(stages.TEXTS, stages.PROMPTS, ["mean", "last"])
    assert full.raised == 1 and engine.batches.budget.tokens < 400
    assert stages.close(found, wanted, CLOSE)


def test_attention_rows(model, tmp_path):
    with pretended_gpu():
        found = stages.attention_columns(model, "cuda:0", tmp_path)
    assert stages.close(found, stages.attention_columns(model, "cpu", tmp_path), CLOSE)


def test_generation_and_its_lack_of_memory(model):
    wanted = stages.written(model, "cpu")
    with pretended_gpu():
        assert stages.written(model, "cuda:0") == wanted
        with out_of_memory("silu", first=3) as full:
            assert stages.written(model, "cuda:0") == wanted
    assert full.raised == 1 and len({answer.text for answer in wanted}) > 3


@pytest.mark.parametrize("kind", ["decoder", "sentence-transformers"])
def test_the_semantic_filter(model, tmp_path, kind):
    judge = model
    if kind != "decoder":
        judge = tmp_path / "packed"
        sentence_model(str(model), Template.parse("none", "{text}"), "last", 64, device="cpu").save(str(judge))
    with pretended_gpu():
        found = stages.semantic_cosines(judge, "cuda:0")
    np.testing.assert_allclose(found, stages.semantic_cosines(judge, "cpu"), atol=CLOSE)


# --- planted faults: what each makes of its stage -------------------------------------------------


def draws_on_the_host(monkeypatch):
    plain = SeededSampling.__init__

    def made(self, *given, **more):
        plain(self, *given, **more)
        self.draws = self.draws.cpu()

    monkeypatch.setattr(SeededSampling, "__init__", made)


def lengths_on_the_host(monkeypatch):
    plain = attention_rows.checked
    monkeypatch.setattr(attention_rows, "checked", lambda rows, lengths, n: plain(rows, lengths.cpu(), n))


def a_seed_of_the_device(monkeypatch):
    """Draws from the device's own generator, which no seed of a request sets."""
    plain = SeededSampling.__init__

    def made(self, *given, **more):
        plain(self, *given, **more)
        self.draws = torch.rand_like(self.draws)

    monkeypatch.setattr(SeededSampling, "__init__", made)


def nothing(monkeypatch):
    """The control: what runs without a fault is not caught."""


FAULTS = [
    (nothing, "written"), (draws_on_the_host, "written"), (a_seed_of_the_device, "written"),
    (nothing, "attention"), (lengths_on_the_host, "attention"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "stage"), FAULTS, ids=[f"{fault.__name__}-{stage}" for fault, stage in FAULTS])
def test_planted_faults_are_caught(model, tmp_path, monkeypatch, fault, stage):
    def run(device: str):
        return (
            stages.written(model, device) if stage == "written" else stages.attention_columns(model, device, tmp_path)
        )

    wanted = run("cpu")
    fault(monkeypatch)
    with pretended_gpu():
        try:
            found = run("cuda:0")
            caught = found != wanted if stage == "written" else not stages.close(found, wanted, CLOSE)
        except RuntimeError as error:
            caught = "same device" in str(error)
    assert caught == (fault is not nothing)
