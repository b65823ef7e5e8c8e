"""An adapter that others trained: taken from its directory, checked, and used like one of the study's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from promptpool.artifacts.files import sidecar_path
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.study.hub_needs import hub_needs
from promptpool.study.study import Study
from promptpool.templates import Template
from promptpool.training.take_adapter import take_adapter
from safetensors.torch import load_file, save_file
from sample_config import REMOVED, ROOT, demo, told
from tiny import TEXTS, tiny_adapter, tiny_model
from transformers import AutoModelForCausalLM

SPEC = {"path": "given", "revision": None, "steps": [20000], "prompt": "cluster", "pooling": "last"}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "model")


def causal_adapter(folder: Path, base: Path, **settings: object) -> Path:
    """LoRA weights as the published code saves them: of the causal model, so that keys hold one `.model.` more."""
    torch.manual_seed(0)
    asked = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings}
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**asked))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    tuned.save_pretrained(folder)
    return folder


def take(given: Path, base: Path, out: Path) -> Path:
    take_adapter(str(given), str(out), spec=SPEC, template="{text} is", model=str(base), revision=None)
    return out / "step-20000"


def test_an_adapter_of_the_causal_model_gives_that_models_vectors(base, tmp_path):
    given = causal_adapter(tmp_path / "given", base)
    step = take(given, base, tmp_path / "out")
    mine = Embedder.load(str(base), str(step), device="cpu", dtype="float32").encode(TEXTS, pooling="last")
    whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), given)
    engine = Embedder.load(str(base), device="cpu", dtype="float32")
    template = Template.parse("none", "{text}")
    ids = [engine.composer.compose(template, text).ids for text in TEXTS]
    with torch.no_grad():
        theirs = [whole(torch.tensor([list(row)]), output_hidden_states=True).hidden_states[-1][0, -1] for row in ids]
    assert np.allclose(mine, torch.stack(theirs).numpy(), atol=1e-5)
    untuned = engine.encode(TEXTS, pooling="last")
    assert np.abs(mine - untuned).max() > 0.01


def test_an_adapter_of_the_bare_model_is_taken_as_it_is(base, tmp_path):
    given = tiny_adapter(tmp_path / "given", base)
    step = take(given, base, tmp_path / "out")
    before, after = (load_file(path / "adapter_model.safetensors") for path in (given, step))
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    facts = json.loads(sidecar_path(tmp_path / "out").read_text())
    assert facts["spec"]["path"] == "given" and facts["spec"]["template"] == "{text} is"
    assert len(facts["vocabulary"]) > 8


def test_what_is_no_lora_adapter_is_refused(base, tmp_path):
    with pytest.raises(PromptpoolError, match="no such file; an adapter is what PEFT's save_pretrained writes"):
        take(tmp_path, base, tmp_path / "out")
    given = causal_adapter(tmp_path / "head", base, modules_to_save=["lm_head"])
    with pytest.raises(PromptpoolError, match=r"also trained lm_head, and only LoRA weights are taken"):
        take(given, base, tmp_path / "out")
    given = causal_adapter(tmp_path / "other", base)
    config = json.loads((given / "adapter_config.json").read_text())
    (given / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    with pytest.raises(PromptpoolError, match="is of the kind IA3, and only LORA is taken"):
        take(given, base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_model_is_refused(base, tmp_path):
    given = tiny_adapter(tmp_path / "given", base)
    weights = load_file(given / "adapter_model.safetensors")
    save_file({f"{name}": torch.zeros(3, 3) + 1 for name in weights}, given / "adapter_model.safetensors")
    with pytest.raises(PromptpoolError, match="the adapter is not of this base model"):
        take(given, base, tmp_path / "out")


# --- the config ---------------------------------------------------------------------------------------


@pytest.fixture
def given_config(monkeypatch, tmp_path, base):
    monkeypatch.chdir(ROOT)
    folder = tiny_adapter(tmp_path / "given", base)
    entry = {"model": "nano-docs", "path": str(folder), "prompt": "cluster", "pooling": "last", "steps": [7]}
    return entry


def test_a_given_adapter_has_no_pairs_and_a_short_recipe(given_config):
    full = resolve(demo(adapters__theirs=given_config))
    study = Study(full)
    assert recipe(full, "theirs") == {
        "path": given_config["path"], "revision": None, "steps": [7], "prompt": "cluster", "pooling": "last",
    }  # fmt: skip
    assert "theirs@7" in study.adapters and study.adapter_pairs("theirs") == []
    assert [Path(file).name for file in study.local_files("adapters", "theirs")] == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    assert resolve(full) == full
    assert not {"path", "revision"} & set(recipe(full, "halves"))


def test_a_given_adapter_of_the_hub_is_needed_from_it(given_config):
    config = demo(adapters__theirs={**given_config, "path": "owner/lora", "revision": "abc"})
    assert hub_needs(resolve(config))["adapters.theirs"] == [
        {"repo_type": "model", "repo": "owner/lora", "revision": "abc", "file": None}
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"steps": [1, 2]}, "adapters.theirs.steps: an adapter with a path is one checkpoint, and 2 steps are named"),
        ({"pairs": ["halves"]}, "adapters.theirs.pairs: an adapter with a path is not trained here; remove pairs"),
        ({"path": "./nowhere"}, "adapters.theirs.path: no such directory: './nowhere'; fix the path, or give a hub id"),
        ({"revision": "abc"}, "adapters.theirs.revision: 'abc' is for a hub model"),
        ({"path": REMOVED}, "adapters.theirs.pairs: missing; name the sets of pairs it is trained on, or its path"),
    ],
)
def test_faults_of_a_given_adapter(given_config, changes, line):
    entry = {key: value for key, value in {**given_config, **changes}.items() if value is not REMOVED}
    assert told(demo(adapters__theirs=entry)).startswith(f"config.yaml: {line}")
