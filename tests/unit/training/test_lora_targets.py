"""Which layers an adapter tunes: the default fits every architecture, and a name that no layer has is refused."""

import pytest
import torch
from architecture_stages import tune
from peft import LoraConfig, get_peft_model
from promptpool.config.inputs import TARGET_WORDS
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone
from promptpool.training.lora_targets import ALL_LINEAR, AUTO, PROJECTIONS, linear_layers, targets_of
from tiny import tiny_model
from tiny_architectures import tiny_architecture, tiny_config
from torch import nn

SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
LLAMA_LIKE = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "smollm3"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    def of(kind: str) -> nn.Module:
        folder = tmp_path_factory.getbasetemp() / f"targets-{kind}"
        if not folder.exists():
            tiny_architecture(folder, tiny_config(kind))
        return load_backbone(str(folder), device="cpu").model

    return of


def adapted(model: nn.Module, targets: object) -> dict[str, tuple]:
    """The shape of each layer that PEFT adapts."""
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
    names = {name.split(".lora_A")[0] for name, _ in tuned.named_parameters() if "lora_A" in name}
    return {name.removeprefix("base_model.model."): tuple(tuned.get_submodule(name).weight.shape) for name in names}


def test_the_configs_words_are_these():
    assert TARGET_WORDS == (AUTO, ALL_LINEAR)


@pytest.mark.parametrize("kind", LLAMA_LIKE)
def test_the_default_is_what_it_always_was_for_a_llama_or_qwen(models, kind):
    model = models(kind)
    count = model.config.num_hidden_layers
    assert targets_of(model, AUTO, "m") == list(PROJECTIONS)
    assert set(PROJECTIONS) == SEVEN - {"k_proj"}  # the paper's
    found = adapted(model, targets_of(model, AUTO, "m"))
    assert len(found) == 6 * count and found == adapted(models(kind), list(PROJECTIONS))


@pytest.mark.parametrize("kind", LLAMA_LIKE)
@pytest.mark.parametrize("word", [ALL_LINEAR, [ALL_LINEAR]], ids=["word", "list"])
def test_all_linear_is_pefts_own_and_the_seven_projections_there(models, kind, word):
    model = models(kind)
    assert set(targets_of(model, word, "m")) == SEVEN
    found = adapted(model, targets_of(model, word, "m"))
    assert len(found) == 7 * model.config.num_hidden_layers
    assert found == adapted(models(kind), "all-linear")


@pytest.mark.parametrize(("kind", "names"), [
    ("phi3", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
    ("gpt2", {"c_attn", "c_proj", "c_fc"}),
    ("gpt_neox", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
    ("falcon", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),  # a Linear with code of its own
    ("mpt", {"Wqkv", "out_proj", "up_proj", "down_proj"}),
    ("mixtral", {"q_proj", "k_proj", "v_proj", "o_proj"}),  # experts are no Linear
    ("phimoe", {"q_proj", "k_proj", "v_proj", "o_proj"}),  # a router that is a Linear with two outputs
])  # fmt: skip
def test_the_default_is_every_linear_layer_elsewhere(models, kind, names):
    assert set(targets_of(models(kind), AUTO, "m")) == names


@pytest.mark.parametrize(
    "kind", ["mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h", "zamba2", "jamba", "bamba"]
)
def test_the_output_of_a_mambas_mixer_is_never_adapted(models, kind, tmp_path):
    model = models(kind)
    mixers = [name for name, part in model.named_modules() if hasattr(part, "conv1d") and hasattr(part, "D")]
    assert mixers
    chosen = adapted(model, targets_of(model, ALL_LINEAR, "m"))
    assert chosen and not {f"{mixer}.out_proj" for mixer in mixers} & set(chosen)


@pytest.mark.parametrize("kind", ["phi3", "llama4_text", "granitemoehybrid", "qwen3_next"])
def test_a_step_under_the_default_reaches_the_adapter(kind, tmp_path):
    tiny_architecture(tmp_path / "model", tiny_config(kind))
    assert tune(str(tmp_path / "model"), tmp_path / "adapter")


@pytest.mark.parametrize(("names", "missing"), [
    (["q_proj", "vproj"], "vproj"), (["router"], "router"), (["q_proj", "model"], "model"), (["Q_PROJ"], "Q_PROJ"),
    (["embed_tokens"], "embed_tokens"), ([*PROJECTIONS, "c_attn", "lm_head"], "c_attn, lm_head"),
])  # fmt: skip
def test_every_name_must_be_a_layers(models, names, missing):
    with pytest.raises(PromptpoolError, match=f"no layer is called {missing}; this model has down_proj, ") as caught:
        targets_of(models("llama"), names, "m")
    assert "[all-linear] stands for all" in str(caught.value)


def test_a_part_of_a_name_is_enough(models):
    assert targets_of(models("llama"), ["self_attn.q_proj", "layers.1.mlp.up_proj"], "m")


def test_one_name_of_two_kinds_of_layers_is_written_whole():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.ModuleDict({"proj": nn.Linear(2, 2)})
            self.b = nn.ModuleDict({"proj": nn.Embedding(2, 2), "other": nn.Linear(2, 2)})

    assert targets_of(Two(), ALL_LINEAR, "m") == ["a.proj", "other"]
    with pytest.raises(PromptpoolError, match="Embedding has no linear layer to adapt"):
        targets_of(nn.Embedding(2, 2), AUTO, "m")


def test_quantized_and_meta_layers_count(tmp_path):
    class Linear4bit(nn.Linear):
        __module__ = "bitsandbytes.nn.modules"

        def forward(self, x):
            raise RuntimeError("no CUDA here")

    assert linear_layers(nn.ModuleDict({"q_proj": Linear4bit(2, 2)})) == ["q_proj"]
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(tiny_model(tmp_path / "model"))
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert set(targets_of(model, ALL_LINEAR, "m")) == SEVEN


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (MemoryError(), True),
        (TypeError("forward() needs a router's state"), False),
    ],
    ids=["no memory", "device", "no host memory", "own code"],
)
def test_a_fault_of_the_device_is_never_taken_for_a_layer_that_lora_cannot_adapt(fault, raised):
    class Odd(nn.Linear):
        def forward(self, x):
            raise fault

    model = nn.ModuleDict({"odd": Odd(2, 2), "plain": nn.Linear(2, 2)})
    if raised:
        with pytest.raises(type(fault)):
            linear_layers(model)
    else:
        assert linear_layers(model) == ["plain"]
