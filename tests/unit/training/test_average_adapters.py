"""The mean of several adapters: exactly the mean of what each adds to the weights."""

import json
from pathlib import Path

import pytest
import torch
from promptpool.artifacts.files import sidecar_path
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone
from promptpool.study.study import Study
from promptpool.training.average_adapters import average_adapters
from sample_config import ROOT, demo, told
from tiny import tiny_adapter, tiny_model

SPEC = {"mean_of": ["a@1", "b@2"], "steps": [1], "prompt": "cluster", "pooling": "last"}
ENTRY = {"model": "nano-docs", "mean_of": ["halves@40", "halves@80", "synthetic@80"], "prompt": "cluster",
         "pooling": "last", "steps": [1]}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "model")


def whole(base: Path, adapter: Path | None = None) -> dict[str, torch.Tensor]:
    found = load_backbone(str(base), None, adapter and str(adapter), device="cpu", dtype="float32").model.state_dict()
    return {name: weight.clone() for name, weight in found.items()}


def average(base: Path, out: Path, *members: Path) -> Path:
    average_adapters(list(map(str, members)), str(out), spec=SPEC, template="{text}", model=str(base), revision=None)
    return out / "step-1"


def test_the_merged_weights_are_the_mean_of_the_members(base, tmp_path):
    members = [
        tiny_adapter(tmp_path / "a", base, seed=1),
        tiny_adapter(tmp_path / "b", base, seed=2, scale=0.1),
        tiny_adapter(tmp_path / "c", base, seed=3, targets=("o_proj", "v_proj")),  # other layers: zero elsewhere
    ]
    mean, each, start = (
        whole(base, average(base, tmp_path / "out", *members)),
        [whole(base, m) for m in members],
        whole(base),
    )
    moved = 0
    for name, weight in mean.items():
        wanted = sum(one[name] for one in each) / 3
        assert torch.allclose(weight, wanted, atol=1e-6), name
        moved += int(not torch.equal(weight, start[name]))
    assert moved == 2 * 3  # q, v and o of two layers


def test_its_record_names_the_members(base, tmp_path):
    members = [tiny_adapter(tmp_path / name, base, seed=seed) for seed, name in enumerate("ab")]
    average(base, tmp_path / "out", *members)
    facts = json.loads(sidecar_path(tmp_path / "out").read_text())
    assert facts["spec"]["mean_of"] == ["a@1", "b@2"] and len(facts["inputs"]) == 2
    config = json.loads((tmp_path / "out/step-1/adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 8


def test_adapters_of_different_scale_rules_are_refused(base, tmp_path):
    one, other = tiny_adapter(tmp_path / "a", base), tiny_adapter(tmp_path / "b", base)
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(PromptpoolError, match=r"b: is no plain LoRA \(use_dora\), so it has no mean with others"):
        average(base, tmp_path / "out", one, other)


def test_a_mean_waits_for_its_members_and_their_checks(monkeypatch):
    monkeypatch.chdir(ROOT)
    full = resolve(demo(adapters__mean=ENTRY))
    study = Study(full)
    assert recipe(full, "mean") == {"mean_of": ENTRY["mean_of"], "steps": [1], "prompt": "cluster", "pooling": "last"}
    assert study.adapter_members("mean") == ["results/demo/adapters/halves", "results/demo/adapters/synthetic"]
    assert study.adapter_members("halves") == []
    alone = resolve(demo(adapters__mean=ENTRY, grid__adapters=["mean"], ablations={}, exports={}))
    names = [Path(path).stem for path in Study(alone).adapter_checks()]
    assert names == ["halves", "mean", "synthetic"]
    assert "mean_of" not in recipe(full, "halves")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"mean_of": ["halves@80"]}, "adapters.mean.mean_of: ['halves@80'] is too short; give at least 2"),
        ({"mean_of": ["halves@80", "halves@81"]}, "adapters.mean.mean_of: adapter 'halves' keeps no checkpoint at ste"),
        ({"mean_of": ["halves@80", "base"]}, "adapters.mean.mean_of: 'base' is no adapter; name checkpoints"),
        ({"mean_of": ["halves@80", "mean@1"]}, "adapters.mean.mean_of: 'mean@1' is itself a mean; name its members"),
        ({"pairs": ["halves"]}, "adapters.mean.pairs: a mean of adapters is not trained; remove pairs"),
        ({"steps": [1, 2]}, "adapters.mean.steps: a mean of adapters is one checkpoint, and 2 steps are named"),
    ],
)
def test_faults_of_a_mean(monkeypatch, changes, line):
    monkeypatch.chdir(ROOT)
    assert told(demo(adapters__mean={**ENTRY, **changes})).startswith(f"config.yaml: {line}")
