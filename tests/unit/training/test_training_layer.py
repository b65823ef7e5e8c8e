"""Training at an inner layer: the hidden state that the engine reads there, and no layer above it."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone
from promptpool.models.decoder import decoder_layers
from promptpool.templates import Template
from promptpool.training.average_adapters import average_adapters
from promptpool.training.lora import learning, save_adapter, tunable_model
from promptpool.training.rank import train_rank
from promptpool.training.validation import hold_out
from safetensors.torch import load_file
from tiny import TEXTS, tiny_model
from tiny_architectures import tiny_architecture, tiny_config
from tiny_training import SPEC, TEMPLATE, call, same_steps, weights, write_pairs
from transformers import AutoModel

pytestmark = pytest.mark.usefixtures("one_thread")
DEPTH = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of four layers by its architecture. GPT-2's list of layers has another name."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny_model(folder / kind, kind, layers=DEPTH) for kind in ("qwen3", "gpt2")}


@pytest.fixture(scope="module")
def model(models) -> Path:
    return models["qwen3"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet")


@pytest.fixture(scope="module")
def trained(model, pairs, tmp_path_factory) -> Path:
    """Three of the four layers, and all linear ones of each: 21 names, which PEFT would shorten."""
    out = tmp_path_factory.mktemp("adapters") / "tuned"
    every = {**SPEC["lora"], "target_modules": ["all-linear"]}
    train_rank(**call(model, pairs, out, layer=3, validation=0.4, lora=every))
    return out


def tunable(model: Path, layer: float, pooling: str = "last", targets: object = "auto", **how):
    spec = {"pooling": pooling, "quantize": None, "lora": {**SPEC["lora"], "target_modules": targets}, "layer": layer}
    how = {"revision": None, "device": torch.device("cpu"), "dtype": torch.float32, **how}
    return tunable_model(str(model), Template.parse("cluster", TEMPLATE), spec, 16, **how)


def layers_of(names: Iterable[str]) -> set[int]:
    """The numbers of the layers, from 0, that names of modules or weights are in."""
    return {int(name.split("layers.")[1].split(".")[0]) for name in names}


def encoded(tuned, texts=TEXTS) -> np.ndarray:
    return tuned.encode(list(texts), batch_size=3, show_progress_bar=False)


QWEN = [(1, "last"), (0.5, "mean"), (3, "eos"), (-2, "weighted"), (-1, "last"), (4, "concat")]


@pytest.mark.parametrize(
    ("kind", "layer", "pooling"), [*(("qwen3", *one) for one in QWEN), ("gpt2", 1, "last"), ("gpt2", 0.5, "mean")]
)
def test_training_pools_the_hidden_state_that_the_engine_reads(models, kind, layer, pooling):
    mine = encoded(tunable(models[kind], layer, pooling))
    theirs = Embedder.load(str(models[kind]), device="cpu", max_text_tokens=16).encode(TEXTS, TEMPLATE, pooling, layer)
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_so_it_is_in_a_model_that_sees_both_ways(model):
    mine = encoded(tunable(model, 2, "mean", causal=False))
    engine = Embedder.load(str(model), device="cpu", max_text_tokens=16, causal=False)
    np.testing.assert_allclose(mine, engine.encode(TEXTS, TEMPLATE, "mean", 2), rtol=1e-4, atol=1e-5)


def test_half_precision_is_pooled_in_float32(model):
    tuned = tunable(model, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert tuned.encode(["a"], convert_to_tensor=True).dtype == torch.float32


@pytest.mark.parametrize(("layer", "kept"), [(1, 1), (0.5, 2), (-2, 3), (4, 4), (0.9, 4)])
def test_only_the_layers_up_to_it_are_there_and_adapted(model, layer, kept):
    tuned = tunable(model, layer)
    assert len(decoder_layers(tuned.transformers_model)) == kept
    assert layers_of(learning(tuned)) == set(range(kept))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_is_that_of_the_whole_models_inner_state(model, checkpointing, tmp_path):
    """Against PEFT on the whole model, whose own `hidden_states` are read."""
    tuned = tunable(model, 2, checkpointing=checkpointing)
    with torch.no_grad():
        for name, weight in learning(tuned).items():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
    save_adapter(tuned, tmp_path)
    base = AutoModel.from_pretrained(model, dtype=torch.float32)
    whole = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    tuned.train()
    whole.train()
    for module in (*tuned.modules(), *whole.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    features = tuned.preprocess(list(TEXTS[:1]))
    tuned(dict(features))["sentence_embedding"].square().sum().backward()
    states = whole(features["input_ids"], output_hidden_states=True).hidden_states[2]
    states[:, -1].square().sum().backward()
    theirs = {name.split("layers.")[1]: weight.grad for name, weight in learning(whole).items()}
    mine = {name.split("layers.")[1]: weight.grad for name, weight in learning(tuned).items()}
    assert mine.keys() == theirs.keys() and len(mine) == 2 * 2 * 6
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-3, atol=1e-5)


def test_a_checkpointed_layer_leaves_no_states_behind(model):
    tuned = tunable(model, 1, checkpointing=True).train()
    tuned(tuned.preprocess(["a text"]))["sentence_embedding"].sum().backward()
    assert tuned[1].states is None


def test_plain_peft_loads_it_onto_the_whole_model_and_touches_no_layer_above(model, trained):
    whole = AutoModel.from_pretrained(model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(whole, trained / "step-3")
    assert layers_of(name for name, one in tuned.named_modules() if isinstance(one, LoraLayer)) == {0, 1, 2}
    targets = json.loads((trained / "step-3/adapter_config.json").read_text())["target_modules"]
    assert len(targets) == 21 and targets == sorted(targets) and targets[0] == "layers.0.mlp.down_proj"
    assert set(weights(trained, 3)) == {
        f"base_model.model.{name}.lora_{side}.weight" for name in targets for side in "AB"
    }


def test_the_untouched_layers_give_the_base_models_output(model, trained):
    base, tuned = (load_backbone(str(model), adapter=one, device="cpu").model for one in (None, trained / "step-3"))
    before, after = base.state_dict(), tuned.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and {name.split(".")[1] for name in changed} == {"0", "1", "2"}
    states = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    places = base.rotary_emb(states, torch.arange(5)[None])
    with torch.no_grad():
        one, other = (decoder_layers(net)[3](states, position_embeddings=places) for net in (base, tuned))
    assert torch.equal(one, other)


def test_the_adapter_changes_what_is_scored_at_its_layer(model, trained):
    engines = [Embedder.load(str(model), one, device="cpu") for one in (None, str(trained / "step-3"))]
    before, after = (engine.encode(TEXTS, TEMPLATE, "last", 3) for engine in engines)
    assert np.abs(after - before).max() > 1e-3


def test_held_out_pairs_are_judged_at_that_layer(model, pairs, trained):
    _, held = hold_out(pd.read_parquet(pairs), 0.4, 7)
    found = pd.read_parquet(trained / "validation.parquet").set_index("step")["accuracy"]
    for step, adapter in ((0, None), (3, str(trained / "step-3"))):
        engine = Embedder.load(str(model), adapter, device="cpu", max_text_tokens=16)
        sides = [engine.encode(held[name].tolist(), TEMPLATE, "last", 3) for name in ("text", "positive")]
        anchors, candidates = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        hits = (anchors @ candidates.T).argmax(1) == np.arange(len(held))
        assert found[step] == pytest.approx(hits.mean())


def test_memory_settings_change_nothing_but_rounding(model, pairs, tmp_path):
    how = {"layer": 0.5, "steps": [2], "max_steps": 2, "lora": {**SPEC["lora"], "dropout": 0.0}}
    for number, execution in enumerate([{}, {"micro_batch_size": 3, "gradient_checkpointing": True}]):
        train_rank(**call(model, pairs, tmp_path / str(number), execution, **how))
    same_steps([tmp_path / "0", tmp_path / "1"], rtol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"negatives": "micro_batch", "micro_batch_size": 4},
        {"matryoshka": [8, 16]},
        {"tokenization": "joint"},
        {"template": {"query": "query: {text}", "document": "{text}"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_way_of_training_stays_below_it(model, pairs, tmp_path, changes):
    template = changes.pop("template", TEMPLATE)
    job = call(model, pairs, tmp_path / "x", steps=[1], max_steps=1, layer=2, **changes)
    train_rank(**{**job, "template": template})
    assert layers_of(weights(tmp_path / "x", 1)) == {0, 1}


def test_a_mean_of_adapters_at_two_layers(model, trained, tmp_path):
    """What a member does not adapt counts as unchanged by it."""
    low = tunable(model, 1)
    with torch.no_grad():
        for weight in learning(low).values():
            weight.fill_(0.01)
    save_adapter(low, tmp_path / "low")
    members = [str(trained / "step-3"), str(tmp_path / "low")]
    spec = {"mean_of": ["a@3", "b@1"], "steps": [1], "prompt": "cluster", "pooling": "last"}
    average_adapters(members, str(tmp_path / "mean"), spec=spec, template=TEMPLATE, model=str(model), revision=None)
    assert layers_of(load_file(tmp_path / "mean/step-1/adapter_model.safetensors")) == {0, 1, 2}


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (0, "layer: 0 of 4 layers is the embeddings, where nothing is adapted; give 1 for the first layer, or -1"),
        (-5, "layer: -5 of 4 layers is the embeddings"),
        (0.1, "layer: 0.1 of 4 layers is the embeddings"),
        (5, "layers: 5 is outside this model of 4 layers"),
        (1.5, "layers: 1.5 is not a share of the depth"),
    ],
)
def test_a_layer_where_nothing_is_trained_is_one_line(model, layer, told):
    with pytest.raises(PromptpoolError) as caught:
        tunable(model, layer)
    assert str(caught.value).startswith(f"{model}: {told}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("targets", [["layers.3.mlp.up_proj"], ["lm_head"]])
def test_a_module_above_it_is_one_line(model, targets):
    with pytest.raises(PromptpoolError, match=f"no layer is called {targets[0]}; this model has down_proj"):
        tunable(model, 2, targets=targets)


def test_explicit_names_are_those_up_to_it(model):
    tuned = tunable(model, 2, targets=["q_proj", "layers.1.mlp.up_proj"])
    named = {name.split(".lora_")[0].split("layers.")[1] for name in learning(tuned)}
    assert named == {"0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj"}


def test_what_runs_after_the_layers_is_not_adapted(tmp_path):
    """OPT can have a projection behind its last layer, which an inner layer's loss does not reach."""
    folder = tiny_architecture(tmp_path / "opt", tiny_config("opt", word_embed_proj_dim=16))
    tuned = tunable(folder, 1, targets="all-linear")
    assert learning(tuned) and all(".layers.0." in name for name in learning(tuned))
    tuned.train()(tuned.preprocess(["a text"]))["sentence_embedding"].sum().backward()
    assert all(weight.grad is not None for weight in learning(tuned).values())


def test_an_architecture_that_cannot_be_cut_is_one_line(tmp_path):
    folder = tiny_architecture(tmp_path / "model", tiny_config("gemma3n_text"))
    with pytest.raises(PromptpoolError, match="alone are no model of its kind; take its last layer"):
        encoded(tunable(folder, 1))
