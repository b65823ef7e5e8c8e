"""Before its first job, a study is refused for what its models on this machine cannot do."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.study import model_checks
from promptpool.study.model_checks import model_faults, require_models
from promptpool.study.plan_checks import missing
from promptpool.study.study import Study
from sample_config import ROOT, demo
from tiny import tiny_model
from tiny_architectures import tiny_architecture, tiny_config
from transformers import AutoConfig


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def study(path: object, **changes: object) -> Study:
    """The sample study with its model at `path`."""
    return Study(resolve(demo(**{"models__nano-docs__path": str(path)}, **changes), files=False))


def refused(path: object, **changes: object) -> str:
    with pytest.raises(PromptpoolError) as caught:
        require_models(study(path, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def targets(names: object) -> dict:
    return {"adapters__halves__lora": {"target_modules": names}}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("llama") / "model", "llama")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return tiny_architecture(tmp_path_factory.mktemp("gemma") / "model", tiny_config("gemma3"))


@pytest.mark.parametrize("names", ["auto", "all-linear", ["all-linear"], ["q_proj", "mlp.up_proj"]])
def test_what_a_model_has_is_accepted(llama, gemma, names):
    require_models(study(llama, **targets(names)))
    require_models(study(gemma, **targets(names)))


@pytest.mark.parametrize("names", [["q_proj", "vproj"], ["fc1"], ["qkv_proj", "o_proj"]])
def test_a_name_that_no_layer_has_is_refused(llama, gemma, names):
    missing_one = next(name for name in names if name not in ("q_proj", "o_proj"))
    for path in (llama, gemma):  # fc1 is a layer of Gemma's image tower
        told = refused(path, **targets(names))
        assert (
            f"adapters.halves: {path}: lora.target_modules: no layer is called {missing_one}; this model has " in told
        )


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "long header"])
def test_damaged_weights_are_left_to_the_job_that_loads_them(llama, tmp_path, damage):
    path = shutil.copytree(llama, tmp_path / "model")
    weights = path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes({"cut": content[:100], "empty": b"", "noise": bytes(range(256)),
                         "long header": b"\xff" * 8 + content[8:]}[damage])  # fmt: skip
    require_models(study(path, **targets(["q_proj"])))
    assert "no layer is called vproj" in refused(path, **targets(["q_proj", "vproj"]))  # the config says it


def test_so_it_is_where_weights_are_not_safetensors(tmp_path):
    AutoConfig.for_model("phi3").save_pretrained(tmp_path)
    assert "no layer is called q_proj; this model has down_proj, gate_up_proj, o_proj, qkv_proj" in refused(
        tmp_path, **targets(["q_proj"])
    )
    require_models(study(tmp_path, **targets(["qkv_proj"])))


@pytest.mark.parametrize(("kind", "reason"), [
    ("bert", "bert is not a decoder-only model"), ("t5", "t5 is not a decoder-only model"),
    ("distilbert", "distilbert is not a decoder-only model"), ("xlnet", "xlnet reads a text in both directions"),
    ("git", "git reads images or sound with its text decoder"), ("vit", "vit is not a decoder-only model"),
    ("whisper", "whisper is not a decoder-only model"), ("blt", "no list of its decoder layers"),
])  # fmt: skip
def test_what_is_no_decoder_is_refused_from_its_config(tmp_path, kind, reason):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    told = refused(tmp_path)
    assert told.startswith("models.nano-docs: ") and reason in told and "MODEL" not in told


def test_a_model_that_works_by_its_kind_and_not_by_its_config_is_refused(tmp_path):
    tiny_config("gemma3_text", use_bidirectional_attention=True).save_pretrained(tmp_path)
    assert "gemma3_text is not a decoder-only model" in refused(tmp_path)
    require_models(study(tiny_architecture(tmp_path / "bert", tiny_config("bert", is_decoder=True))))


def test_what_a_kind_cannot_do_matters_only_where_it_is_asked_for(tmp_path):
    AutoConfig.for_model("reformer", is_decoder=True).save_pretrained(tmp_path / "reformer")
    assert "ReformerModel cannot be tuned" in refused(tmp_path / "reformer")
    bare = {"adapters": {}, "exports": {}, "grid__adapters": [], "attention": None, "ablations": {}, "pairs": {}}
    require_models(study(tmp_path / "reformer", **bare))
    tiny_config("mllama").save_pretrained(tmp_path / "mllama")
    assert "exports.docs-cluster: transformers does not load the text decoder of " in refused(tmp_path / "mllama")
    require_models(study(tmp_path / "mllama", **bare))
    tiny_config("gemma3n_text").save_pretrained(tmp_path / "gemma3n")
    require_models(study(tmp_path / "gemma3n", grid__layers=[-1]))
    bare |= {"grid__layers": [-1, 1]}
    assert "gemma3n_text, gives its last layer alone; write grid.layers: [-1]" in refused(tmp_path / "gemma3n", **bare)


def test_an_adapter_beside_a_model_that_sees_is_refused(gemma):
    assert "exports.docs-cluster.merged: false needs a model for text alone" in refused(
        gemma, **{"exports__docs-cluster__merged": False}
    )


def test_the_layer_that_an_adapter_is_trained_at(llama, tmp_path):
    """It can be cut, lies in the model of two layers, and has what is to be adapted."""
    inner = {"adapters__halves__layer": 1, "adapters__synthetic__layer": 0.5}
    require_models(study(llama, **inner))
    told = refused(llama, **inner, **targets(["layers.1.mlp.up_proj"]))
    assert f"adapters.halves: {llama}: lora.target_modules: no layer is called layers.1.mlp.up_proj" in told
    tiny_config("gemma3n_text").save_pretrained(tmp_path / "gemma3n")
    told = refused(tmp_path / "gemma3n", **inner)
    assert "adapters.halves.layer: its architecture, gemma3n_text, gives its last layer alone" in told
    tiny_config("gemma4_text").save_pretrained(tmp_path / "gemma4")
    assert "alone are no model of its kind; take its last layer" in refused(tmp_path / "gemma4", **inner)


def test_a_model_that_is_not_here_yet_is_not_asked(tmp_path):
    assert not list(model_faults(study("owner/name")))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    assert not list(model_faults(study(tmp_path / "broken")))  # who loads it says so


def test_a_snapshot_of_the_hub_is(tmp_path, monkeypatch, llama):
    here = study("owner/name", **targets(["vproj"]))
    (marker,) = here.snapshot("models", "nano-docs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / marker).parent.mkdir(parents=True)
    (tmp_path / marker).write_text(json.dumps({"repo": "owner/name", "repo_type": "model", "commit": "c"}))
    assert not list(model_faults(here))  # the marker is there, the files are gone: `held` says so
    monkeypatch.setattr(model_checks, "snapshot_folder", lambda pin: llama)
    assert "no layer is called vproj" in next(model_faults(here))
    here = study("owner/name", adapters__halves__layer=3)
    assert next(model_faults(here)) == (
        "adapters.halves.layer: model 'nano-docs' has no layer 3; give one from -3 to 2"
    )


def test_the_plan_lists_it(llama):
    told = missing(study(llama, **targets(["vproj"])), 0.0, 0.0, 0)
    assert any("no layer is called vproj" in line for line in told)


def test_nothing_heavy_is_imported_where_all_is_right(llama):
    program = f"""
import sys
from promptpool.config.resolve import resolve
from promptpool.study.model_checks import require_models
from promptpool.study.study import Study
from sample_config import demo
named = {{"models__nano-docs__path": {str(llama)!r}, "adapters__halves__lora": {{"target_modules": ["q_proj"]}}}}
config = demo(**named)
require_models(Study(resolve(config, files=False)))
print([name for name in ("torch", "transformers", "peft") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment())
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stderr


def environment() -> dict:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'workflow'}:{ROOT / 'tests'}"}
