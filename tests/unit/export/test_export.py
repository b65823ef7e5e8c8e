"""Exports: what lies in the directory, that it loads where promptpool is not, and what is refused before writing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from promptpool.config.outputs import exports as _exports
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.export.base_licence import base_licence
from promptpool.export.check_parity import awkward_texts, cosines
from promptpool.models.backbone import load_backbone
from promptpool.models.sentence_model import POOLING_MODES
from safetensors.torch import load_file, save_file
from tiny import TEXTS, tiny_model
from tiny_export import LIMIT, PROMPT, export, spec_of

ODD = [*TEXTS, *awkward_texts(PROMPT, "<|end|>", LIMIT)]
BARE = """
import sys
import numpy
from sentence_transformers import SentenceTransformer
texts = open(sys.argv[1], encoding="utf-8", newline="").read().split("\\0")
for path in sys.argv[2:]:
    model = SentenceTransformer(path, device="cpu")
    numpy.save(path + ".npy", model.encode(texts, show_progress_bar=False))
assert not [name for name in sys.modules if name.startswith("promptpool")]
"""


def read(folder: Path, name: str) -> object:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_exports_load_where_promptpool_is_not(base, adapter, given, tmp_path):
    """One process, isolated, offline and elsewhere, loads each kind: plain, inner layer, adapter alone."""
    kinds = {"plain": {"pooling": "weighted"}, "inner": {"layer": 1, "pooling": "mean"}, "beside": {"merged": False}}
    paths = [export(tmp_path / kind, base, adapter, given, **changes) for kind, changes in kinds.items()]
    (tmp_path / "texts").write_text("\0".join(ODD), encoding="utf-8", newline="")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = subprocess.run(
        [sys.executable, "-I", "-c", BARE, str(tmp_path / "texts"), *map(str, paths)],
        capture_output=True, text=True, cwd=elsewhere, timeout=300, check=False,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": str(elsewhere)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    engine = Embedder.load(str(base), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    for path, changes in zip(paths, kinds.values(), strict=True):
        spec = spec_of(**changes)
        mine = engine.encode(ODD, PROMPT, spec["pooling"], spec["layer"])
        assert cosines(mine, np.load(f"{path}.npy")).min() >= 0.9999, path.name


@pytest.mark.parametrize("pooling", POOLING_MODES)
def test_modules_are_named_as_old_releases_and_vllm_know_them(pooling, base, given, tmp_path):
    out = export(tmp_path / "out", base, None, given, pooling=pooling)
    assert [module["type"].rpartition(".") for module in read(out, "modules.json")] == [
        ("sentence_transformers.models", ".", name) for name in ("Transformer", "Pooling", "Normalize")
    ]
    assert read(out, "sentence_bert_config.json").keys() == {"max_seq_length", "do_lower_case"}
    config = read(out, "1_Pooling/config.json")
    if pooling == "concat":  # old switches would put the mean first
        assert config["pooling_mode"] == ["lasttoken", "mean"]
    else:
        switched = [key for key, value in config.items() if key.startswith("pooling_mode") and value]
        mode = POOLING_MODES[pooling]
        assert switched == [f"pooling_mode_{mode}{'' if mode == 'lasttoken' else '_tokens'}"]


def test_without_normalisation_there_is_no_such_module(base, given, tmp_path):
    out = export(tmp_path / "out", base, None, given, normalize=False)
    assert len(read(out, "modules.json")) == 2


def test_the_config_speaks_to_transformers_4_too(given, tmp_path):
    rope = {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    base = tiny_model(tmp_path / "base", "llama", rope_parameters=rope, max_position_embeddings=512)
    config = read(export(tmp_path / "out", base, None, given), "config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 500000.0
    assert config["rope_scaling"] == {key: value for key, value in rope.items() if key != "rope_theta"}


def test_the_tokenizer_pads_right_adds_no_token_types_and_has_no_chat_template(exported):
    config = read(exported, "tokenizer_config.json")
    assert config["padding_side"] == "right"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert "chat_template" not in config and not list(exported.rglob("chat_template*"))


def test_the_variant_is_written_beside_the_model(exported):
    variant = read(exported, "promptpool.json")
    assert {key: variant[key] for key in ("model", "adapter", "step", "prompt", "pooling", "layer")} == {
        "model": "small", "adapter": "tuned", "step": 3, "prompt": "quotes", "pooling": "last", "layer": -1,
    }  # fmt: skip
    assert variant["template"] == PROMPT


def test_merged_weights_leave_no_adapter(exported):
    assert not list(exported.rglob("adapter_*")) and (exported / "model.safetensors").is_file()


def test_an_adapter_alone_names_its_base_and_holds_no_base_weights(base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given, merged=False)
    assert read(out, "adapter_config.json")["base_model_name_or_path"] == str(base.resolve())
    assert (out / "adapter_model.safetensors").read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
    assert not list(out.rglob("model.safetensors")) and not (out / "config.json").exists()
    card = (out / "README.md").read_text()
    assert "peft" in card and str(base.parent) not in card


def test_an_adapter_of_a_hub_model_names_id_and_revision(base, adapter, tmp_path):
    from promptpool.export.export_model import copy_adapter

    copy_adapter(tmp_path, str(adapter), "owner/model", "abc123")
    config = read(tmp_path, "adapter_config.json")
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/model", "abc123")


@pytest.mark.parametrize(("layer", "words"), [(1, "layer 1 (0 is"), (0.4, "layer 0.4 (a share of the depth)")])
def test_an_inner_layer_cuts_off_the_layers_that_it_does_not_need(base, given, tmp_path, layer, words):
    out = export(tmp_path / "out", base, None, given, layer=layer)
    assert words in (out / "README.md").read_text() and read(out, "promptpool.json")["layer"] == layer
    assert read(out, "config.json")["num_hidden_layers"] == 2  # the pooled one, and one that spares it the final norm
    assert not [key for key in load_file(out / "model.safetensors") if key.startswith("layers.2")]


@pytest.mark.parametrize("layer", [-1, 3])
def test_the_last_layer_keeps_the_model_whole_by_either_number(layer, base, given, tmp_path):
    out = export(tmp_path / "out", base, None, given, layer=layer)
    assert read(out, "config.json")["num_hidden_layers"] == 3
    assert "WeightedLayerPooling" not in (out / "modules.json").read_text()


def test_weights_are_saved_in_the_type_that_was_asked_for(base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given, dtype="bfloat16")
    assert {weight.dtype for weight in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert read(out, "config.json")["dtype"] == "bfloat16"


def test_the_export_has_its_provenance(exported):
    sidecar = json.loads(exported.with_name("out.meta.json").read_text())
    names = {Path(path).name for path in sidecar["inputs"]}
    assert names == {"adapter_model.safetensors", "summary.parquet", "facts.json", "qc.json"}


# --- refused before anything is written --------------------------------------------------------------------------


def spoilt(adapter: Path, folder: Path, change) -> Path:
    path = Path(shutil.copytree(adapter, folder))
    weights = load_file(path / "adapter_model.safetensors")
    change(weights)
    save_file(weights, path / "adapter_model.safetensors")
    return path


def lose_a_key(weights: dict) -> None:
    del weights[sorted(weights)[0]]


def name_a_causal_model(weights: dict) -> None:
    for key in list(weights):
        weights[key.replace("base_model.model.", "base_model.model.model.")] = weights.pop(key)


def spoil_a_number(weights: dict) -> None:
    weights[sorted(weights)[0]][0, 0] = float("nan")


def weaken(factor: float):
    def change(weights: dict) -> None:
        for key, weight in weights.items():
            if "lora_B" in key:
                weight.mul_(factor)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose_a_key, "adapter key .*lora_A.* has no place in this model"),
        (name_a_causal_model, "adapter key .* has no place in this model"),
        (spoil_a_number, "lora_A.* is not finite"),
        (weaken(0), "all zero and changes nothing"),
        (weaken(1e-12), "exports.out: adapter tuned@3 changes nothing"),
    ],
    ids=["a key is missing", "keys of a causal model", "not finite", "zero", "without effect"],
)  # fmt: skip
@pytest.mark.parametrize("merged", [True, False], ids=["merged", "beside"])
def test_a_spoilt_adapter_is_refused_and_nothing_is_written(change, told, merged, base, adapter, given, tmp_path):
    path = spoilt(adapter, tmp_path / "spoilt", change)
    with pytest.raises(PromptpoolError, match=told) as caught:
        export(tmp_path / "out", base, path, given, merged=merged)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["spoilt"]


def test_an_adapter_of_a_wider_model_is_refused_in_one_line(adapter, given, tmp_path):
    wider = tiny_model(tmp_path / "wider", layers=3, hidden_size=64)
    with pytest.raises(PromptpoolError, match=r"not of this base model, .*wider: size mismatch for .*lora") as caught:
        export(tmp_path / "out", wider, adapter, given)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_an_adapter_that_names_another_base_is_a_warning(base, adapter, tmp_path):
    path = Path(shutil.copytree(adapter, tmp_path / "foreign"))
    config = read(path, "adapter_config.json")
    (path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "owner/elsewhere"}))
    with pytest.warns(UserWarning, match="trained on base 'owner/elsewhere', and put on .*model"):
        load_backbone(str(base), adapter=path, device="cpu")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_without_its_file_is_named(name, base, adapter, tmp_path):
    path = Path(shutil.copytree(adapter, tmp_path / "partial"))
    (path / name).unlink()
    with pytest.raises(PromptpoolError, match=rf"partial/{name}: no such file"):
        load_backbone(str(base), adapter=path, device="cpu")


def test_a_cut_off_adapter_file_is_named(base, adapter, tmp_path):
    path = Path(shutil.copytree(adapter, tmp_path / "cut")) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PromptpoolError, match=r"cut/adapter_model\.safetensors: broken adapter file"):
        load_backbone(str(base), adapter=path.parent, device="cpu")


def test_an_adapter_too_small_for_bfloat16_is_refused(base, adapter, given, tmp_path):
    small = spoilt(adapter, tmp_path / "small", weaken(1e-4))
    with pytest.raises(
        PromptpoolError, match=r"exports\.out\.dtype: rounding to bfloat16 changes vectors by .*, adapter"
    ):
        export(tmp_path / "out", base, small, given, dtype="bfloat16")
    assert export(tmp_path / "out", base, small, given).is_dir()


def test_texts_longer_than_the_model_reads_are_refused(given, tmp_path):
    base = tiny_model(tmp_path / "base", "gpt2", n_positions=30)
    with pytest.raises(
        PromptpoolError, match=r"max_text_tokens: 64 and the prompt's \d+ .* the model's 30; give at most"
    ):
        export(tmp_path / "out", base, None, given, max_text_tokens=64)


def test_an_echo_prompt_is_refused_when_the_config_is_read():
    config = {"exports": {"out": spec_of(adapter="base")}, "models": {"small": {"path": "owner/small"}},
              "prompts": {"quotes": "{text} again: {text}"}, "adapters": {}, "roles": {}}  # fmt: skip
    assert next(_exports(config)).startswith("exports.out.prompt: 'quotes' holds {text} twice")


# --- the base's licence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model", {"license": "apache-2.0"}),
        ("---\nlicense: other\nlicense_name: llama3.2\nlicense_link: LICENSE.txt\ntags: [x]\n---\n",
         {"license": "other", "license_name": "llama3.2", "license_link": "LICENSE.txt"}),
        ("# A model without front matter\n\nlicense: mit", {}),
        ("---\nlicense: [mit]\n---\n", {}),
        ("---\n: : {\n---\n", {}),
        ("---\nlicense: mit", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_the_licence_is_read_from_the_bases_own_card(card, found, tmp_path):
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert base_licence(str(tmp_path)) == found


def test_a_base_without_a_card_has_no_known_licence(base, monkeypatch):
    assert base_licence(str(base)) == {}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert base_licence("owner/never-downloaded") == {}
