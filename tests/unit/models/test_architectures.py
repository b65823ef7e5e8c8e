"""Architectures without an attention interface, or without sdpa, are embedded and tuned under their own attention."""

import warnings

import numpy as np
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone
from promptpool.templates import Template
from promptpool.training.lora import tunable_model
from tiny import TEXTS, tiny_model, tiny_tokenizer
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

OWN = {
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 2, "rotary_dim": 8},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 128},
    "gpt_oss": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
        "intermediate_size": 48, "num_local_experts": 2, "num_experts_per_tok": 1,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi3": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "intermediate_size": 48,
    },
}  # fmt: skip
PROMPTS = {"none": "{text}", "sum": "{text} is about"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    def of(kind: str) -> str:
        folder = tmp_path_factory.getbasetemp() / f"architecture-{kind}"
        if not folder.exists():
            torch.manual_seed(0)
            ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0}
            config = AutoConfig.for_model(kind, vocab_size=400, **ids, **OWN[kind])
            AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
            tiny_tokenizer().save_pretrained(folder)
        return str(folder)

    return of


@pytest.mark.parametrize("kind", OWN)
def test_vectors_are_those_of_plain_passes(models, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a pass a prompt, which is said
        engine = Embedder.load(models(kind), device="cpu", max_text_tokens=16)
        found = engine.grid(TEXTS[:3], PROMPTS, ["mean", "last"])
    plain = AutoModel.from_pretrained(models(kind), dtype=torch.float32, attn_implementation="eager").eval()
    for (prompt, pooling, layer), rows in found.items():
        for text, row in zip(TEXTS[:3], rows, strict=True):
            ids = list(engine.composer.compose(Template.parse(prompt, PROMPTS[prompt]), text).ids)
            with torch.no_grad():
                states = plain(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
            wanted = (states.mean(0) if pooling == "mean" else states[-1]).numpy()
            assert np.abs(row - wanted).max() <= 1e-4 * np.abs(wanted).max(), (prompt, pooling, layer)


@pytest.mark.parametrize("kind", OWN)
def test_a_step_of_tuning_under_the_default_attention_reaches_the_adapter(models, kind):
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["all-linear"]}
    spec = {"pooling": "mean", "quantize": None, "lora": lora}
    tuned = tunable_model(
        models(kind), Template.parse("none", "{text}"), spec, 16, revision=None, device=torch.device("cpu"),
        dtype=torch.float32,
    )  # fmt: skip
    tuned.train()(tuned.preprocess(TEXTS[:3]))["sentence_embedding"].sum().backward()
    learned = [weight for name, weight in tuned.named_parameters() if "lora_B" in name]
    assert learned and any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in learned)


@pytest.mark.parametrize(
    ("kind", "used"), [("gptj", "eager"), ("bloom", "eager"), ("phi3", "sdpa"), ("falcon", "sdpa")]
)
def test_sdpa_is_used_where_there_is_one(models, kind, used):
    assert load_backbone(models(kind), device="cpu").model.config._attn_implementation == used


def test_a_layer_that_peft_does_not_adapt_is_named_in_one_line(tmp_path):
    folder = tiny_model(tmp_path / "mamba", "mamba")
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["out_proj"]}
    spec = {"pooling": "mean", "quantize": None, "lora": lora}
    with pytest.raises(PromptpoolError, match=r"lora\.target_modules: .*out_proj.*; name other layers") as caught:
        tunable_model(
            str(folder), Template.parse("none", "{text}"), spec, 16, revision=None, device=torch.device("cpu"),
            dtype=torch.float32,
        )  # fmt: skip
    assert "\n" not in str(caught.value)
