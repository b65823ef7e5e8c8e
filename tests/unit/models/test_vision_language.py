"""Models that also see: their text decoder is found by its role, and is embedded, tuned and exported alone."""

import json
import sys
import warnings

import numpy as np
import pytest
import torch
from architecture_stages import PROMPTS, embed, packed, tune
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.models.backbone import load_backbone
from promptpool.models.decoder import decoder_layers, text_decoder
from promptpool.scoring.measure_costs import Shape
from promptpool.templates import Template
from safetensors.torch import load_file, save_file
from tiny import TEXTS, tiny_model
from tiny_architectures import tiny_architecture, tiny_config
from tiny_export import export, tables
from transformers import AutoConfig, AutoModel, AutoTokenizer

KINDS = {  # the text decoder's own kind
    "gemma3": "gemma3_text",
    "mistral3": "mistral",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "llava": "llama",
    "llama4": "llama4_text",
    "qwen3_vl": "qwen3_vl_text",
    "idefics3": "llama",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    def of(kind: str) -> str:
        folder = tmp_path_factory.getbasetemp() / f"seeing-{kind}"
        if not folder.exists():
            tiny_architecture(folder, tiny_config(kind))
            # As on the hub: what makes a processor of images, which wants packages of its own.
            seen = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}
            (folder / "preprocessor_config.json").write_text(json.dumps(seen))
        return str(folder)

    return of


@pytest.fixture(autouse=True)
def no_package_for_images(monkeypatch):
    for name in ("torchvision", "PIL", "timm"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_decoder_is_found_by_its_role(folders, kind):
    config = AutoConfig.from_pretrained(folders(kind))
    seeing = getattr(config.vision_config, "num_hidden_layers", None) or config.vision_config.depth
    assert seeing == config.get_text_config().num_hidden_layers  # a list of that length is no proof
    model = load_backbone(folders(kind), device="cpu").model
    assert model.config.model_type == KINDS[kind]
    names = [name for name, _ in model.named_parameters()]
    assert not [name for name in names if "vis" in name or "projector" in name]
    assert len(decoder_layers(model)) == seeing
    assert all("Vision" not in type(part).__name__ for part in decoder_layers(model).modules())
    assert Shape.of(folders(kind)).depth == seeing


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_the_whole_model_on_text(folders, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        engine = Embedder.load(folders(kind), device="cpu", max_text_tokens=16)
        found = engine.grid(TEXTS[:3], PROMPTS, ["mean", "last"], [-1, 1])
    whole = AutoModel.from_pretrained(folders(kind), dtype=torch.float32, attn_implementation="eager").eval()
    for (prompt, pooling, layer), rows in found.items():
        for text, row in zip(TEXTS[:3], rows, strict=True):
            ids = torch.tensor([engine.composer.compose(Template.parse(prompt, PROMPTS[prompt]), text).ids])
            with torch.no_grad():
                out = whole(input_ids=ids, use_cache=False, output_hidden_states=True)
            states = (
                (out.hidden_states[-1] if kind == "llama4" else out.last_hidden_state)
                if layer == -1
                else (out.hidden_states[layer])
            )
            wanted = (states[0].mean(0) if pooling == "mean" else states[0, -1]).numpy()
            assert np.abs(row - wanted).max() <= 2e-4 * np.abs(wanted).max(), (prompt, pooling, layer)


@pytest.mark.parametrize("kind", KINDS)
def test_tuning_touches_the_text_decoder_alone_and_its_export_is_the_pipelines(folders, kind, tmp_path):
    tuned = tune(folders(kind), tmp_path / "adapter")
    assert {name.rpartition(".")[2] for name in tuned} == {
        "q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    everything = tune(folders(kind), tmp_path / "all", "all-linear")
    inside = {name for name, _ in load_backbone(folders(kind), device="cpu").model.named_modules()}
    assert set(tuned) < set(everything) <= inside
    facts = packed(folders(kind), tmp_path / "adapter", tmp_path)
    assert facts["lowest_cosine"] >= 0.9999
    saved = json.loads((tmp_path / "exported/config.json").read_text())
    assert saved["model_type"] == KINDS[kind] and "vision_config" not in saved
    assert not (tmp_path / "exported/preprocessor_config.json").exists()


@pytest.mark.parametrize("kind", ["gemma3", "qwen2_vl"])
def test_an_inner_layer_is_exported_too(folders, kind, tmp_path):
    from tiny_export import parity

    out = export(tmp_path / "out", folders(kind), None, tables(tmp_path / "tables"), layer=1)
    assert parity(out, folders(kind), None, layer=1)["lowest_cosine"] >= 0.9999


def test_an_adapter_beside_its_base_is_refused_where_the_base_is_more_than_its_text_decoder(folders, tmp_path):
    tune(folders("gemma3"), tmp_path / "adapter")
    with pytest.raises(PromptpoolError, match=r"exports\.out\.merged: false .* more than its text decoder; write true"):
        export(tmp_path / "out", folders("gemma3"), tmp_path / "adapter", tables(tmp_path / "tables"), merged=False)


@pytest.mark.parametrize("kind", ["kosmos-2", "mllama"])
def test_a_text_decoder_that_transformers_cannot_load_alone_is_embedded_and_tuned_but_not_exported(
    folders, kind, tmp_path
):
    embed(folders(kind))
    tune(folders(kind), tmp_path / "adapter")
    with pytest.raises(PromptpoolError, match=r"exports\.exported: transformers does not load .* by itself"):
        packed(folders(kind), tmp_path / "adapter", tmp_path)


@pytest.mark.parametrize(("kind", "reason"), [
    ("git", "git reads images or sound with its text decoder; name a model for text"),
    ("paligemma", "paligemma is not a decoder-only model"),  # text before an image is read in both directions
    ("t5gemma2", "t5gemma2 is not a decoder-only model"),
])  # fmt: skip
def test_what_has_no_text_decoder_of_its_own_is_refused_from_its_config(tmp_path, kind, reason):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)  # no weights: none is read
    for refused in (lambda: load_backbone(str(tmp_path), device="cpu"), lambda: Shape.of(str(tmp_path))):
        with pytest.raises(PromptpoolError, match=reason) as caught:
            refused()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["gemma3", "qwen2_vl", "mistral3", "llava"])
def test_it_writes_too(folders, kind):
    sampling = {"temperature": 0.0, "max_new_tokens": 4, "top_p": 1.0}
    setup = WriterSetup(
        folders(kind), None, sampling, {"batch_size": 2}, device="cpu", dtype="float32", needs_chat=False
    )
    backend = open_backend("transformers", setup)
    assert any(one.text for one in backend.write([Request(text, seed=1, chat=False) for text in TEXTS[:4]]))


def test_a_layer_that_text_alone_does_not_reach_is_named(tmp_path):
    config = tiny_config("mllama", text_config={"num_hidden_layers": 3, "cross_attention_layers": [1]})
    folder = str(tiny_architecture(tmp_path / "model", config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        engine = Embedder.load(folder, device="cpu", max_text_tokens=16)
        assert engine.encode(TEXTS, layer=3).std(0).max() > 0
        with pytest.raises(PromptpoolError, match="layer 2 of MllamaTextModel does not run on text alone"):
            engine.encode(TEXTS, layer=2)


@pytest.mark.parametrize("make", [
    lambda folder: tiny_architecture(folder, tiny_config("gemma3")), tiny_model,
    lambda folder: tiny_architecture(folder, tiny_config("phi3")),
], ids=["seeing", "qwen3", "phi3"])  # fmt: skip
def test_weights_that_a_file_lacks_are_never_random(make, tmp_path):
    folder = make(tmp_path / "model")
    file = folder / "model.safetensors"
    weights = load_file(file)
    lost = next(name for name in weights if "layers.1.self_attn.o_proj" in name and "vision" not in name)
    save_file({name: weight for name, weight in weights.items() if name != lost}, file, metadata={"format": "pt"})
    with pytest.raises(PromptpoolError, match=r"its files lack 1 of the weights of .*layers\.1\.self_attn\.o_proj"):
        load_backbone(str(folder), device="cpu")


def test_an_image_towers_missing_weight_is_no_matter(folders, tmp_path):
    folder = tiny_architecture(tmp_path / "model", tiny_config("gemma3"))
    file = folder / "model.safetensors"
    kept = {name: weight for name, weight in load_file(file).items() if "vision" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    assert load_backbone(str(folder), device="cpu").model.config.model_type == "gemma3_text"


def test_a_model_for_text_is_its_own_text_decoder(tmp_path):
    model = AutoModel.from_pretrained(tiny_model(tmp_path / "model"))
    assert text_decoder(model) is model
    assert AutoTokenizer.from_pretrained(tmp_path / "model")
