"""The other stages that run a model give on a GPU what they give on a CPU."""

import device_stages as stages
import numpy as np
import pytest
import torch
from promptpool.models.sentence_model import sentence_model
from promptpool.templates import Template
from tiny import tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; none is visible"),
]
CLOSE = 1e-3  # of the largest value, in float32


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("stages") / "model", initializer_range=0.1)


def test_joint_tokenization(model):
    assert stages.close(*(stages.joint_vectors(model, device) for device in ("cuda", "cpu")), CLOSE)


def test_separate_passes(tmp_path):
    model = tiny_model(tmp_path / "model", "bloom")
    assert stages.close(*(stages.separate_vectors(model, device) for device in ("cuda", "cpu")), CLOSE)


def test_attention_rows(model, tmp_path):
    assert stages.close(*(stages.attention_columns(model, device, tmp_path) for device in ("cuda", "cpu")), CLOSE)


def test_generation(model):
    gpu, cpu = (stages.written(model, device) for device in ("cuda", "cpu"))
    # Rounding may tip a draw that falls between two tokens, and the text goes on differently from there.
    assert sum(one == other for one, other in zip(gpu, cpu, strict=True)) >= len(cpu) - 1


@pytest.mark.parametrize("kind", ["decoder", "sentence-transformers"])
def test_the_semantic_filter(model, tmp_path, kind):
    judge = model
    if kind != "decoder":
        judge = tmp_path / "packed"
        sentence_model(str(model), Template.parse("none", "{text}"), "last", 64, device="cpu").save(str(judge))
    found, wanted = (stages.semantic_cosines(judge, device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(found, wanted, atol=1e-2)  # TF32 products in the decoder's `auto`
