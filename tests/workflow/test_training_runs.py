"""The training rule: mixed by weight and validated, drawn, and run again only for what changes an adapter."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow


def config(**changes: object) -> dict:
    """Three adapters: at the last of two layers, and at the first one by its number and by its share."""
    made = study()
    made["pairs"]["whole"] = {"corpus": "lines", "styles": ["identity"]}
    made["adapters"]["tuned"] |= {"pairs": {"halves": 3, "whole": 1}, "validation": 0.2, **changes}
    for name, layer in (("first", 1), ("half", 0.5)):
        made["adapters"][name] = {**made["adapters"]["tuned"], "layer": layer}
    made["grid"]["layers"] = [-1, 1]
    return made


def test_training_follows_its_recipe_and_not_its_surroundings(prepare, tmp_path):
    folder = prepare(tmp_path / "study")
    targets = ["adapters", "results/tiny/figures/training_curves.svg"]
    answer = snakemake(folder, *targets, config=config())
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    out = folder / "results/tiny/adapters/tuned"
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".snakemake")) == [
        "best_step.json", "step-2", "step-4", "tensorboard", "training.parquet", "validation.parquet",
    ]  # fmt: skip
    names = ("first", "half", "tuned")
    assert sorted(path.name for path in out.parent.iterdir()) == [
        f"{name}{end}" for name in names for end in ("", ".meta.json", ".tar")
    ]
    whole, first, half = (
        load_file(out.parent / name / "step-4/adapter_model.safetensors") for name in ("tuned", "first", "half")
    )
    assert any("layers.1." in name for name in whole) and {name.split(".")[3] for name in first} == {"0"}
    assert first.keys() == half.keys() and all(torch.equal(first[name], half[name]) for name in first)
    assert "tokens/s" in (folder / "results/tiny/logs/train_adapter/tuned.log").read_text()
    same = {"gpus": 2, "gradient_checkpointing": True, "micro_batch_size": 4, "tracking": {"tensorboard": False}}
    assert jobs(snakemake(folder, "adapters", "--dry-run", config=config(**same))) == {}
    for change in ({"margin": 0.1}, {"pairs": {"halves": 1, "whole": 1}}, {"validation": 0.3}):
        found = jobs(snakemake(folder, "adapters", "--dry-run", config=config(**change)))
        assert found.get("train_adapter") == 3, change
    moved = config()
    moved["adapters"]["tuned"]["layer"] = 1
    assert jobs(snakemake(folder, "adapters", "--dry-run", config=moved))["train_adapter"] == 1
