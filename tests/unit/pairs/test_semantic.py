"""The semantic check: cosines as plain forward passes give them, by a decoder or a sentence-transformers model."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from promptpool.errors import PromptpoolError
from promptpool.models.sentence_model import sentence_model
from promptpool.pairs import semantic
from promptpool.pairs.semantic import similarities
from promptpool.templates import Template
from tiny import TEXTS, tiny_model
from transformers import AutoModel, AutoTokenizer

PROMPT = "the meaning of {text} is"
POSITIVES = [*TEXTS[1:], TEXTS[0]]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("semantic") / "model", bos=False)


@pytest.fixture(scope="module")
def packed(model, tmp_path_factory) -> Path:
    """The same model as a sentence-transformers directory, the last token's state for a vector."""
    folder = tmp_path_factory.mktemp("packed") / "model"
    sentence_model(str(model), Template.parse("none", "{text}"), "last", 64, device="cpu").save(str(folder))
    return folder


def plain_cosines(model: Path, prompt: str, pooling: str) -> np.ndarray:
    tokenizer, decoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model, dtype=torch.float32)
    prefix, suffix = prompt.split("{text}")

    def vector(text: str) -> torch.Tensor:
        ids = [i for piece in (prefix, text, suffix) for i in tokenizer(piece)["input_ids"]]
        states = decoder.eval()(torch.tensor([ids])).last_hidden_state[0]
        return states.mean(0) if pooling == "mean" else states[-1]

    with torch.no_grad():
        pairs = [(vector(text), vector(positive)) for text, positive in zip(TEXTS, POSITIVES, strict=True)]
    return np.array([torch.cosine_similarity(a, b, dim=0).item() for a, b in pairs])


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_cosines_are_those_of_plain_forward_passes(model, pooling):
    spec = {"model": str(model), "revision": None, "prompt": PROMPT, "pooling": pooling, "min": 0.3}
    found = similarities(TEXTS, POSITIVES, spec, "cpu")
    assert found.dtype == np.float32 and found.shape == (len(TEXTS),)
    np.testing.assert_allclose(found, plain_cosines(model, PROMPT, pooling), atol=1e-5)


def test_a_sentence_transformers_directory_brings_its_own_pooling(packed, model):
    spec = {"model": str(packed), "prompt": "{text}", "pooling": "mean"}
    np.testing.assert_allclose(
        similarities(TEXTS, POSITIVES, spec, "cpu"), plain_cosines(model, "{text}", "last"), atol=1e-5
    )


def test_the_prompt_reaches_a_sentence_transformers_model(packed):
    bare, prompted = (similarities(TEXTS, POSITIVES, {"model": str(packed), "prompt": p}) for p in ("{text}", PROMPT))
    assert np.abs(bare - prompted).max() > 1e-3


def test_a_text_is_as_near_to_itself_as_can_be(model):
    np.testing.assert_allclose(similarities(TEXTS, TEXTS, {"model": str(model)}), 1, atol=1e-6)


def test_pieces_give_what_the_whole_gives(model, monkeypatch):
    whole = similarities(TEXTS, POSITIVES, {"model": str(model)})
    monkeypatch.setattr(semantic, "PAIRS_EMBEDDED", 2)
    seen = []
    parts = similarities(TEXTS, POSITIVES, {"model": str(model)}, progress=lambda *at: seen.append(at))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_no_pairs_have_no_similarities(model):
    assert similarities([], [], {"model": str(model)}).shape == (0,)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PromptpoolError, match=r"semantic\.model '.*nowhere' can't be loaded: [^\n]*$"):
        similarities(["a"], ["b"], {"model": str(tmp_path / "nowhere")})


def test_a_vector_without_direction_names_its_text(packed, tmp_path):
    folder = shutil.copytree(packed, tmp_path / "zero")
    from safetensors.torch import load_file, save_file

    weights = next(folder.rglob("model.safetensors"))
    save_file({name: torch.zeros_like(w) for name, w in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(PromptpoolError, match="the vector of 'a graph' is zero or not finite"):
        similarities(["a graph"], ["a"], {"model": str(folder)}, "cpu")


def test_torch_waits_until_it_is_asked_for():
    modules = "promptpool.pairs.semantic, promptpool.pairs.filters, promptpool.pairs.contamination"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    path = str(Path(__file__).parents[3] / "workflow")
    answer = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
