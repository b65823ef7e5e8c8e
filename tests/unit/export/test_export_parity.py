"""The parity check: 100 texts, every pooling and layer, and what makes it fail."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.export.check_parity import BATCHES, compare, parity_texts, pinned_base
from promptpool.templates import Template
from promptpool.training.lora import learning, save_adapter, tunable_model
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tiny import tiny_model
from tiny_export import LIMIT, LINES, PROMPT, export, parity


@pytest.fixture(scope="module")
def engine(base) -> Embedder:
    return Embedder.load(str(base), device="cpu", dtype="float32", max_text_tokens=LIMIT)


def test_an_export_passes_on_a_hundred_texts_at_two_batch_sizes(exported, base, adapter):
    facts = parity(exported, base, adapter)
    assert facts["texts"] == 100 and facts["batch_sizes"] == [32, 1]
    assert facts["lowest_cosine"] >= 0.9999 and facts["largest_difference"] < 1e-4
    assert json.loads(exported.with_name("parity.json.meta.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [("gpt2", "last"), ("gpt2", "weighted"), ("gpt_neox", "max"), ("llama", "mean"), ("llama", "concat"),
     ("mistral", "eos"), ("mistral", "weighted")],
)  # fmt: skip
def test_every_pooling_and_architecture_passes(architecture, pooling, given, tmp_path):
    sliding = {"sliding_window": 6} if architecture == "mistral" else {}
    base = tiny_model(tmp_path / "base", architecture, bos=architecture != "gpt2", chat=True, **sliding)
    changes = {"pooling": pooling, "normalize": pooling in ("mean", "concat")}
    parity(export(tmp_path / "out", base, None, given, **changes), base, None, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer": 0, "pooling": "mean"}, {"layer": 1, "pooling": "weighted"}, {"layer": -2, "normalize": False},
        {"layer": 3, "pooling": "eos"}, {"merged": False, "pooling": "concat"}, {"dtype": "bfloat16"},
    ],
    ids=str,
)  # fmt: skip
def test_inner_layers_adapters_alone_and_rounded_weights_pass(changes, base, adapter, given, tmp_path):
    facts = parity(export(tmp_path / "out", base, adapter, given, **changes), base, adapter, **changes)
    rounded = changes.get("dtype") == "bfloat16"
    assert (facts["lowest_cosine_unrounded"] < facts["lowest_cosine"] - 1e-6) == rounded


@pytest.mark.parametrize("changes", [{"layer": 2}, {"layer": -1}, {"layer": -1, "merged": False}], ids=str)
def test_an_adapter_that_was_trained_at_an_inner_layer_passes(changes, base, given, tmp_path):
    """Its weights are for the first two layers alone, and named in full."""
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": "auto"}
    spec = {"pooling": "last", "layer": 2, "quantize": None, "lora": lora}
    how = {"revision": None, "device": torch.device("cpu"), "dtype": torch.float32}
    tuned = tunable_model(str(base), Template.parse("quotes", PROMPT), spec, LIMIT, **how)
    with torch.no_grad():
        for name, weight in learning(tuned).items():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.2)
    save_adapter(tuned, tmp_path / "adapter")
    out = export(tmp_path / "out", base, tmp_path / "adapter", given, **changes)
    assert parity(out, base, tmp_path / "adapter", **changes)["lowest_cosine"] >= 0.9999
    plain = export(tmp_path / "plain", base, None, given, **{**changes, "merged": True})
    one, other = (SentenceTransformer(str(folder), device="cpu").encode(LINES) for folder in (out, plain))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("template", ["{text}", "{text} means", "{x}} naïve {{0}{text}{\n"])
def test_prompts_of_every_shape_pass(template, base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given, template=template)
    assert parity(out, base, adapter, template=template)["texts"] == 100


def test_the_hundred_texts_hold_the_awkward_ones_and_spread_over_lengths(engine):
    known = ["w " * n for n in range(1, 2000)]
    texts = parity_texts(known, PROMPT, engine, LIMIT)
    assert len(texts) == len(set(texts)) == 100
    assert {"", " ", "{text}", PROMPT} <= set(texts)
    own = [len(text) for text in texts if set(text) == {"w", " "}]
    assert own == sorted(own) and own[0] == 2 and own[-1] == 2 * 1999 and max(np.diff(own)) < 2 * 2 * 1999 / len(own)
    lengths = [len(row) for row in engine.backbone.tokenizer(texts, add_special_tokens=False)["input_ids"]]
    assert sum(length > LIMIT for length in lengths) > 2


def test_few_texts_are_joined_to_a_hundred(engine):
    texts = parity_texts([f"{line} {i}" for line in LINES for i in range(9)], PROMPT, engine, LIMIT)
    assert len(texts) == len(set(texts)) == 100


def test_a_text_without_a_token_is_left_out(tmp_path):
    base = tiny_model(tmp_path / "base", bos=False)
    engine = Embedder.load(str(base), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    assert "" not in parity_texts(LINES, "{text}", engine, LIMIT)
    assert "" in parity_texts(LINES, PROMPT, engine, LIMIT)


# --- what fails --------------------------------------------------------------------------------------------------


def test_spoilt_weights_fail_and_the_text_is_named(exported, base, adapter, tmp_path):
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    name = next(key for key in sorted(weights) if key.endswith("q_proj.weight"))
    weights[name] = weights[name] + 0.2 * torch.randn(weights[name].shape, generator=generator)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PromptpoolError, match=r"broken: cosine 0\.\d+ to the pipeline's vector of '.*' at batch size"):
        parity(broken, base, adapter)
    assert not (tmp_path / "parity.json").exists()


def test_an_export_without_its_adapter_fails(base, adapter, given, tmp_path):
    with pytest.raises(PromptpoolError, match="cosine"):
        parity(export(tmp_path / "untuned", base, None, given), base, adapter)


def test_a_wrong_limit_fails(exported, base, adapter, tmp_path):
    with pytest.raises(PromptpoolError, match="cosine"):
        parity(exported, base, adapter, max_text_tokens=LIMIT - 4)


def test_a_vector_of_another_length_fails_although_its_cosine_is_one():
    mine = np.ones((3, 4), dtype=np.float32)
    with pytest.raises(PromptpoolError, match=r"the vector of 'b' is 2\.0000 times as long"):
        compare("out", ["a", "b", "c"], mine, mine * np.array([[1], [2], [1]]), 32)


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_a_vector_that_is_no_vector_fails(bad):
    mine = np.ones((2, 4), dtype=np.float32)
    theirs = mine.copy()
    theirs[1] = bad
    with pytest.raises(PromptpoolError, match="vector of 'b' at batch size 1"), np.errstate(invalid="ignore"):
        compare("out", ["a", "b"], mine, theirs, BATCHES[1])


def test_another_width_fails():
    with pytest.raises(PromptpoolError, match="8 dimensions, but the pipeline has 4"):
        compare("out", ["a"], np.ones((1, 4)), np.ones((1, 8)), 32)


def test_an_adapter_beside_a_hub_model_is_checked_on_the_pinned_snapshot(base, adapter, given, tmp_path, monkeypatch):
    out = export(tmp_path / "out", base, adapter, given, merged=False)
    before = (out / "adapter_config.json").read_text()
    asked = {}

    def cached_file(model, name, revision):
        asked.update(model=model, revision=revision)
        return str(base / name)

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    with pinned_base(str(out), "owner/model", "abc123") as path:
        found = json.loads(Path(path, "adapter_config.json").read_text())["base_model_name_or_path"]
    assert found == str(base) and asked == {"model": "owner/model", "revision": "abc123"}
    assert (out / "adapter_config.json").read_text() == before
    with pinned_base(str(out), str(base), None) as path:
        assert path == str(out)


def test_a_cut_export_has_the_first_dimensions_of_the_whole_one(base, adapter, given, tmp_path):
    whole, cut = (export(tmp_path / name, base, adapter, given, **more) for name, more in (
        ("whole", {}), ("cut", {"truncate_dim": 8})
    ))  # fmt: skip
    facts = parity(cut, base, adapter, truncate_dim=8)
    assert facts["lowest_cosine"] >= 0.9999
    vectors = [SentenceTransformer(str(path), device="cpu").encode(LINES) for path in (whole, cut)]
    assert vectors[1].shape[1] == 8 and np.abs(vectors[0][:, :8] - vectors[1]).max() < 1e-6
    assert json.loads((cut / "promptpool.json").read_text())["truncate_dim"] == 8
    card = (cut / "README.md").read_text()
    assert "Text embeddings of 8 dimensions" in card and "the first 8 of a vector" in card
    again = SentenceTransformer(str(cut), device="cpu", truncate_dim=4)
    assert again.encode(LINES[:1]).shape == (1, 4)


def test_more_dimensions_than_there_are_is_one_line(base, adapter, given, tmp_path):
    with pytest.raises(
        PromptpoolError, match=r"exports\.cut\.truncate_dim: its vectors have 32 dimensions; give fewer"
    ):
        export(tmp_path / "cut", base, adapter, given, truncate_dim=32)
    assert not (tmp_path / "cut").exists()
