"""Layers whose last token has not seen the text yet are read, such as convolutions; a model that sees none is not."""

import numpy as np
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.guards import same_everywhere
from promptpool.embedding.packing import Trunk
from promptpool.errors import PromptpoolError
from safetensors.torch import load_file, save_file
from tiny import TEXTS, tiny_model
from tiny_architectures import tiny_architecture, tiny_config
from transformers import AutoModel

LONG = "{text} is about the following cluster of texts"
NEAR_SIGHTED = {  # kind, and the settings that make its first layer reach a few tokens back
    "convolution": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "convolution of experts": ("lfm2_moe", {"layer_types": ["conv", "full_attention"]}),  # rounds by batch
    "convolution of a deeper model": (
        "lfm2", {"layer_types": ["conv", "conv", "full_attention"], "num_hidden_layers": 3},
    ),
    "window": ("gemma3_text", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}),
}  # fmt: skip
BLIND = {"convolution": ("lfm2", {"layer_types": ["conv", "conv"]}), "window": ("mistral", {"sliding_window": 3})}


@pytest.fixture(scope="module", params=NEAR_SIGHTED)
def folder(request, tmp_path_factory) -> str:
    kind, changes = NEAR_SIGHTED[request.param]
    return str(tiny_architecture(tmp_path_factory.mktemp(kind) / "model", tiny_config(kind, **changes)))


@pytest.mark.filterwarnings("ignore:.*does not run under a tree mask")
@pytest.mark.parametrize("pooling", ["last", "eos"])
def test_an_inner_layer_is_read_with_a_warning_where_its_last_token_has_not_seen_the_text(folder, pooling):
    engine = Embedder.load(folder, device="cpu", max_text_tokens=16)
    with pytest.warns(UserWarning, match=rf"embedding long/{pooling}/1: the prompt's last token has not seen the text"):
        found = engine.grid(TEXTS, {"long": LONG}, [pooling, "mean"], [1, -1])
    one = found["long", pooling, 1]
    assert np.abs(one - one[0]).max() <= 1e-6 * np.abs(one).max()
    assert found["long", "mean", 1].std(0).max() > 0 and found["long", pooling, -1].std(0).max() > 0
    plain = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = engine.composer.compose(engine.families({"long": LONG})[0].templates[0], TEXTS[0], eos=pooling == "eos").ids
    with torch.no_grad():
        states = plain(torch.tensor([list(ids)]), output_hidden_states=True, use_cache=False).hidden_states[1][0, -1]
    assert np.abs(one[0] - states.numpy()).max() <= 1e-4 * np.abs(one[0]).max()


@pytest.mark.filterwarnings("ignore:.*does not run under a tree mask")
@pytest.mark.parametrize("pooling", ["last", "eos", "mean"])
@pytest.mark.parametrize("layer", [1, -1])
def test_a_model_that_sees_no_text_is_refused_at_any_layer(folder, tmp_path, pooling, layer):
    refused_blind(folder, tmp_path, pooling, layer)


@pytest.mark.parametrize("pooling", ["last", "eos", "max"])
@pytest.mark.parametrize("layer", [1, 2, -1])
def test_so_is_a_plain_decoder(tmp_path, pooling, layer):
    refused_blind(str(tiny_model(tmp_path / "plain", layers=3)), tmp_path, pooling, layer)


@pytest.mark.filterwarnings("ignore:.*does not run under a tree mask")
@pytest.mark.parametrize("name", BLIND)
def test_a_last_layer_whose_last_token_never_sees_the_text_is_refused(tmp_path, name):
    kind, changes = BLIND[name]
    folder = tiny_architecture(tmp_path / "model", tiny_config(kind, **changes))
    engine = Embedder.load(str(folder), device="cpu", max_text_tokens=16)
    with pytest.raises(PromptpoolError, match=r"prompt/last/-1: 6 texts have one and the same vector"):
        engine.encode(TEXTS, LONG, "last")
    assert engine.encode(TEXTS, LONG, "mean").std(0).max() > 0


def refused_blind(folder: str, tmp_path, pooling: str, layer: int) -> None:
    """A copy of the model whose embeddings are zero is refused."""
    blind = AutoModel.from_pretrained(folder, dtype=torch.float32)
    blind.save_pretrained(tmp_path / "blind")
    file = tmp_path / "blind/model.safetensors"
    weights = {name: torch.zeros_like(w) if "embed" in name else w for name, w in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    engine = Embedder.load(folder, device="cpu", max_text_tokens=16)
    engine.backbone.tokenizer.save_pretrained(tmp_path / "blind")
    engine = Embedder.load(str(tmp_path / "blind"), device="cpu", max_text_tokens=16)
    with pytest.raises(PromptpoolError, match="6 texts have one and the same vector; check the model's weights"):
        engine.encode(TEXTS, LONG, pooling, layer)


@pytest.mark.parametrize("changed", [1e-3, 1e-5])
def test_rows_that_differ_by_more_than_rounding_are_no_one_vector(changed):
    rows = np.full((5, 8), 3.0, dtype=np.float32)
    rows[:, 0] = 1000  # as large numbers as a layer of an LLM has
    trunks = [Trunk((number,), 0, 1) for number in range(5)]
    assert same_everywhere(rows, trunks) and not same_everywhere(rows, trunks[:1] * 5)
    rows[4, 3] += np.float32(changed * 1000)
    assert not same_everywhere(rows, trunks)
