"""Hostile input: nothing that users, models or servers write crashes, is executed, or gets out of its place."""

import ast
import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promptpool.artifacts.files import text_digest
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import encodable, tidy
from promptpool.templates import Composer, Template, family_name
from tiny import tiny_tokenizer
from tiny_study import study

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests/faults"))
COMPOSER = Composer(tiny_tokenizer(), 16)
TEXT = st.text(st.characters(codec=None), max_size=60)  # lone surrogates and NULs too
FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@FAST
@given(TEXT, TEXT, TEXT)
def test_a_text_goes_into_a_template_as_it_is(prefix, suffix, text):
    written = f"{prefix}{{text}}{suffix}"
    if written.count("{text}") == 1:
        parsed = Template.parse("mine", written)
        assert (parsed.prefix, parsed.suffix) == (prefix, suffix)
        assert parsed.filled(text) == prefix + text + suffix
    assert set(family_name(prefix)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@FAST
@given(TEXT, TEXT, TEXT)
def test_any_text_has_ids_and_its_prompt_is_whole(prefix, suffix, text):
    template = Template("mine", encodable(prefix), encodable(suffix))
    found = COMPOSER.compose(template, text, eos=True)
    assert found.text <= 16 and len(found.ids) == len(found.spans())
    assert found.prefix == len(COMPOSER.piece(template.prefix)) and found.suffix == len(COMPOSER.piece(template.suffix))


@pytest.mark.parametrize(
    "piece", ["x", " ", "\0", "مرحبا ", "\U0001f468\u200d\U0001f469", "e\u0301", "{text}", "\ud800"]
)
def test_a_text_of_a_megabyte_is_cut(piece):
    text = piece * (1_000_000 // len(piece.encode("utf-8", "surrogatepass")))
    assert COMPOSER.compose(Template.parse("mine", "a {text} b"), text).text <= 16


@FAST
@given(TEXT)
def test_what_a_model_writes_is_fit_for_every_file(text):
    assert tidy(text).encode("utf-8") is not None and "<think>" not in tidy(text)
    assert len(text_digest(text)) == 64


@FAST
@given(ANY)
def test_any_configuration_is_taken_or_refused_in_one_line(value):
    refused_in_one_line(value)


@FAST
@given(st.sampled_from(sorted(study())), st.lists(st.integers(0, 9), max_size=4), ANY)
def test_any_value_in_any_place_is_taken_or_refused_in_one_line(section, way, value):
    config = study()
    at, key = config, section
    for turn in way:
        keys = (
            list(at[key])
            if isinstance(at[key], dict)
            else list(range(len(at[key])))
            if isinstance(at[key], list)
            else []
        )
        if not keys:
            break
        at, key = at[key], keys[turn % len(keys)]
    at[key] = value
    refused_in_one_line(config)


def refused_in_one_line(config: object) -> None:
    try:
        resolve(config)
    except PromptpoolError as error:
        assert "\n" not in str(error) and str(error).startswith("config.yaml: ")


def test_yaml_is_loaded_safely():
    for tag in ("!!python/object/apply:os.system [id]", "!!python/name:os.system", "!!python/module:os"):
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load(f"run: {tag}")
    assert found_calls("load", "unsafe_load", "full_load", of="yaml") == []


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell():
    assert found_calls("load", "loads", "Unpickler", of="pickle") == []
    assert found_calls("load", of="joblib") == []
    assert found_calls("system", "popen", of="os") == []
    for path, call in calls():
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        given = {word.arg: word.value for word in call.keywords}
        assert "shell" not in given, path
        assert not (isinstance(call.func, ast.Name) and name in ("eval", "exec", "compile", "__import__")), path
        if ast.unparse(call.func) == "torch.load":
            assert ast.unparse(given["weights_only"]) == "True", path


def test_no_rule_runs_a_shell():
    for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        assert "shell:" not in path.read_text() and "run:" not in path.read_text(), path


def test_code_from_a_repository_is_never_run_and_weights_are_safetensors():
    for path, call in calls():
        if ast.unparse(call.func).endswith(".from_pretrained") and "Peft" not in ast.unparse(call.func):
            spread = [ast.unparse(word.value) for word in call.keywords if word.arg is None]
            wanted = "SAFE" if "AutoModel" in ast.unparse(call.func) else "NO_CODE"
            assert wanted in spread, f"{path}: {ast.unparse(call)}"


def test_a_model_that_brings_its_own_code_is_refused_without_a_question(tmp_path):
    from promptpool.models.backbone import load_backbone
    from promptpool.runtime.job import as_line
    from tiny import tiny_model

    path = tiny_model(tmp_path / "model")
    (path / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass C: pass\n")
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModel": "mine.C"}}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, KeyError, PromptpoolError)) as caught:
        load_backbone(str(path), device="cpu")
    assert not (tmp_path / "executed").exists()
    line = as_line(caught.value)
    assert line.endswith("no code of a base model's repository is run (see SECURITY.md)") and "\n" not in line


def test_pickled_weights_are_not_read(tmp_path):
    import torch
    from promptpool.models.backbone import load_backbone
    from safetensors.torch import load_file
    from tiny import tiny_model

    path = tiny_model(tmp_path / "model")
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_backbone(str(path), device="cpu")


def test_a_pickle_in_the_hubs_cache_is_found(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from promptpool.hub.safe_loading import require_safetensors

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    module = tmp_path / "models--owner--mini/snapshots" / ("1" * 40) / "2_Dense"
    module.mkdir(parents=True)
    (module / "pytorch_model.bin").touch()
    with pytest.raises(PromptpoolError, match=r"^baselines\.mini\.path: owner/mini: 2_Dense/pytorch_model\.bin is a"):
        require_safetensors("owner/mini", "1" * 40, "baselines.mini.path")
    (module / "model.safetensors").touch()
    require_safetensors("owner/mini", "1" * 40, "baselines.mini.path")


def test_some_cases_of_the_fuzzer():
    import fuzz

    counts, faults = fuzz.run(range(400), seed=7)
    assert faults == [] and sum(counts.values()) == 400
    assert {kind for kind, _ in counts} == set(fuzz.KINDS)


def calls() -> list[tuple[str, ast.Call]]:
    """Every call in the package and the scripts."""
    found = []
    for path in [*(ROOT / "workflow/promptpool").glob("*.py"), *(ROOT / "workflow/scripts").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [(path.name, node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return found


def found_calls(*names: str, of: str) -> list[str]:
    return [
        f"{path}: {ast.unparse(call)}"
        for path, call in calls()
        if ast.unparse(call.func) in {f"{of}.{n}" for n in names}
    ]
