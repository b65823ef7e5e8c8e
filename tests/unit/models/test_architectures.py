"""Architectures of every sort take every stage, or are refused in one line; the table of all of them is whole.

Those without an attention interface, or without sdpa, run under their own attention.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from architecture_stages import embed, packed, tune
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone
from promptpool.scoring.measure_costs import Shape
from promptpool.templates import Template
from promptpool.training.lora import tunable_model
from tiny import TEXTS, tiny_model, tiny_tokenizer
from tiny_architectures import tiny_architecture, tiny_config
from tiny_export import export, parity, tables
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

ROOT = Path(__file__).parents[3]

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


STAGES = {  # whether all prompts share a pass
    "gemma2": True, "phi3": True, "deepseek_v3": True, "llama4_text": True, "falcon": False, "bloom": False,
    "gpt_oss": False, "openai-gpt": False, "mamba": False, "jamba": False, "lfm2": False, "granitemoehybrid": False,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "together"), STAGES.items())
def test_every_stage(kind, together, tmp_path):
    folder = str(tiny_architecture(tmp_path / "model", tiny_config(kind)))
    assert Shape.of(folder).depth == 2
    assert embed(folder).batches.takes_trees == together
    assert tune(folder, tmp_path / "adapter")
    assert packed(folder, tmp_path / "adapter", tmp_path)["lowest_cosine"] >= 0.9999


DEEPER = {  # four layers of more than one kind
    "granitemoehybrid": {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention"] * 2},
    "lfm2": {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2},
    "gpt_neo": {"num_layers": 4, "attention_types": [[["global", "local"], 2]]},
    "gemma3_text": {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "qwen3_next": {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention"] * 2},
    "zamba2": {},
}


@pytest.mark.parametrize("kind", DEEPER)
def test_an_inner_layer_of_a_model_of_several_kinds_of_layers_is_exported(kind, tmp_path):
    folder = tiny_architecture(tmp_path / "model", tiny_config(kind, **DEEPER[kind]))
    out = export(tmp_path / "out", folder, None, tables(tmp_path / "tables"), layer=1, pooling="mean")
    assert parity(out, folder, None, layer=1, pooling="mean")["lowest_cosine"] >= 0.9999


def test_what_grows_with_the_number_of_layers_is_not_cut(tmp_path):
    kinds = ["sliding_attention", "full_attention"] * 2
    folder = tiny_architecture(tmp_path / "model", tiny_config("gemma4_text", num_hidden_layers=4, layer_types=kinds))
    with pytest.raises(PromptpoolError, match=r"the first layers of a gemma4_text alone .*, layer: -1"):
        export(tmp_path / "out", folder, None, tables(tmp_path / "tables"), layer=1, pooling="mean")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "reason"), [
    ("bert", "bert is not a decoder-only model; name a causal LM"),
    ("electra", "electra is not a decoder-only model; name a causal LM"),
    ("bart", "bart is not a decoder-only model; name a causal LM"),
    ("marian", "marian is not a decoder-only model; name a causal LM"),
    ("trocr", "transformers has no model of trocr without its head"),
    ("blt", "no list of its decoder layers found in BltModel; name another model"),
    ("hrm_text", "no list of .* decoder layers found in HrmTextModel"),
    ("xlnet", "xlnet reads a text in both directions and is not a decoder-only model"),
    ("cpmant", "cpmant reads a text in both directions and is not a decoder-only model"),
])  # fmt: skip
def test_what_is_no_decoder_is_refused_in_one_line(kind, reason, tmp_path):
    folder = str(tiny_architecture(tmp_path / "model", tiny_config(kind)))
    with pytest.raises(PromptpoolError, match=reason) as caught:
        embed(folder)
    assert "\n" not in str(caught.value) and folder in str(caught.value)


def test_a_bert_that_is_a_decoder_is_one(tmp_path):
    folder = str(tiny_architecture(tmp_path / "model", tiny_config("bert", is_decoder=True)))
    assert embed(folder).batches.takes_trees


def test_a_gemma_that_reads_both_ways_is_none(tmp_path):
    folder = str(tiny_architecture(tmp_path / "model", tiny_config("gemma3_text", use_bidirectional_attention=True)))
    with pytest.raises(PromptpoolError, match="gemma3_text is not a decoder-only model"):
        embed(folder)


def test_a_batch_that_an_architectures_own_code_cannot_train_on_is_one_line(tmp_path):
    folder = str(tiny_architecture(tmp_path / "model", tiny_config("reformer")))
    with pytest.raises(PromptpoolError, match=r"ReformerModel cannot be tuned, .* name another model") as caught:
        tune(folder, tmp_path / "adapter")
    assert "\n" not in str(caught.value)


def test_an_adapter_is_loaded_as_saved_whatever_names_an_older_checkpoint_had(tmp_path):
    """PEFT renames `shared_experts` of some kinds on loading, and would leave these weights as they were made."""
    folder = str(tiny_architecture(tmp_path / "model", tiny_config("laguna")))
    tune(folder, tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert load_backbone(folder, adapter=tmp_path / "adapter", device="cpu").kept == 1.0


@pytest.mark.parametrize("kind", ["deepseek_v4", "gemma3n_text"])
def test_layers_of_several_states_a_token_are_read_at_the_end_alone(kind, tmp_path):
    folder = str(tiny_architecture(tmp_path / "model", tiny_config(kind)))
    embed(folder, (-1,))
    with pytest.raises(PromptpoolError, match=r"several states for each token; .*, layers: \[-1\]"):
        embed(folder, (1,))


def test_the_width_of_attention_is_found_in_every_config(tmp_path):
    widths = {"llama": 32, "mamba": 0, "gpt2": 32, "gemma3_text": 32}
    for kind, width in widths.items():
        assert Shape.of(str(tiny_architecture(tmp_path / kind, tiny_config(kind)))).width == width


def test_the_table_names_every_architecture_of_this_transformers_and_no_traceback():
    found = json.loads((ROOT / "workflow/promptpool/study/architectures.json").read_text(encoding="utf-8"))
    assert found["transformers"] == transformers.__version__, "run make test-architectures"
    assert set(found["text"]) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(found["text"]) | set(found["seeing"]) >= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    rows = {**found["text"], **found["seeing"]}
    results = {row["result"] for row in rows.values()}
    assert results == {"one pass", "separate passes", "refused", "not built"}
    assert all(("tunes" in row) != ("reason" in row) for row in rows.values())
    for kind, together in STAGES.items():
        assert rows[kind]["result"] == ("one pass" if together else "separate passes"), kind


def test_the_page_is_the_tables():
    sys.path.insert(0, str(ROOT / "tests/architectures"))
    from architecture_page import PAGE, page

    found = json.loads((ROOT / "workflow/promptpool/study/architectures.json").read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(found), "run make test-architectures"
