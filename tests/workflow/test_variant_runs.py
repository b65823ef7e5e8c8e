"""Adapters that are not trained plainly, a model without its causal mask, and left-out words, through the workflow.

Also hard negatives: mined by words, mined by a model, and given in a file.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from fakehub import FakeHub, serving
from hub_data import publish_model
from safetensors.torch import load_file
from tiny import tiny_adapter
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow
TASK = "results/tiny/scores"


def variants(adapter: Path | str, revision: str | None = None) -> dict:
    """The tiny study with each kind of adapter, and its model once more without its causal mask."""
    config = study()
    config["pairs"].pop("written")
    config["models"]["open"] = {"path": "model", "causal": False}
    config["corpora"]["lines"] = {"source": "file", "path": "threes.csv", "negative": "other"}
    tuned = config["adapters"]["tuned"] | {"steps": [2], "max_steps": 2}
    config["adapters"] = {
        "tuned": tuned,
        "noisy": tuned | {"noise": "published"},
        "control": tuned | {"positives": "shuffled"},
        "opened": tuned | {"model": "open"},
        "harder": tuned | {"hard_negatives": {"from": "mined", "relative_margin": None}},
        "judged": tuned | {"hard_negatives": {"from": "mined", "model": "small", "relative_margin": None, "count": 2}},
        "given": tuned | {"hard_negatives": {"from": "given"}},
        "mean": {"model": "small", "mean_of": ["tuned@2", "noisy@2"], "prompt": "cluster", "pooling": "last",
                 "steps": [2]},
        "theirs": {"model": "small", "path": str(adapter), "prompt": "cluster", "pooling": "last", "steps": [7]},
    }  # fmt: skip
    if revision:
        config["adapters"]["theirs"]["revision"] = revision
    config["grid"] |= {"models": ["small", "open"], "prompts": ["cluster"], "poolings": ["mean", "last", "eos"]}
    config["grid"]["adapters"] = ["tuned", "noisy", "control", "opened", "mean", "theirs"]
    config["ablations"] = {
        "kinds": {
            "vary": "adapter", "baseline": "base",
            "fixed": {"model": "small", "prompt": "cluster", "pooling": "last", "layer": -1},
        },
        "masks": {
            "vary": "model", "baseline": "small",
            "fixed": {"adapter": "base", "prompt": "cluster", "pooling": "mean", "layer": -1},
        },
    }  # fmt: skip
    config["attention"] |= {"omissions": 3, "value_norms": True, "adapters": ["base", "tuned@2", "control@2"]}
    config["exports"] = {"out": {"model": "open", "adapter": "opened@2", "prompt": "cluster", "pooling": "mean"}}
    return config


def with_negatives(place: Path) -> Path:
    """The tiny study's folder, and its corpus once more with a negative of each text."""
    lines = pd.read_csv(place / "corpus.csv")
    lines.assign(other=lines["text"].iloc[::-1].to_numpy()).to_csv(place / "threes.csv", index=False)
    return place


@pytest.fixture(scope="module")
def folder(prepare, tmp_path_factory) -> Path:
    """One run of what these tests look at."""
    place = with_negatives(prepare(tmp_path_factory.mktemp("variants") / "study"))
    given = tiny_adapter(place / "given", place / "model")
    drawn = [f"results/tiny/figures/{name}.svg" for name in ("omissions", "value_norms")]
    targets = ["ablations", "models", "attention", *drawn]
    targets += [f"results/tiny/checks/training_data/{name}.json" for name in ("harder", "judged", "given")]
    answer = snakemake(place, *targets, "--quiet", config=variants(given))
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    return place


def weights(folder: Path, name: str, step: int) -> dict:
    return load_file(folder / f"results/tiny/adapters/{name}/step-{step}/adapter_model.safetensors")


def test_every_kind_of_adapter_is_scored(folder):
    table = pd.read_parquet(folder / "results/tiny/ablations/kinds.parquet")
    assert set(table["value"]) == {"base", "tuned@2", "noisy@2", "control@2", "mean@2", "theirs@7"}
    masks = pd.read_parquet(folder / "results/tiny/ablations/masks.parquet")
    assert set(masks["value"]) == {"small", "open"}
    names = ("noisy", "control", "opened", "harder", "judged", "given")
    tuned, *others = (weights(folder, name, 2) for name in ("tuned", *names))
    for other in others:
        assert any(not tuned[key].equal(other[key]) for key in tuned)


def test_the_adapter_of_others_and_the_mean_are_what_they_say(folder):
    given, taken = load_file(folder / "given/adapter_model.safetensors"), weights(folder, "theirs", 7)
    assert {key: value.tolist() for key, value in given.items()} == {key: v.tolist() for key, v in taken.items()}

    def product(found: dict, key: str):
        return found[key.replace("lora_A", "lora_B")] @ found[key]

    tuned, noisy, mean = (weights(folder, name, 2) for name in ("tuned", "noisy", "mean"))
    scale = [
        json.loads((folder / f"results/tiny/adapters/{name}/step-2/adapter_config.json").read_text())
        for name in ("tuned", "mean")
    ]
    one, both = (config["lora_alpha"] / config["r"] for config in scale)
    for key in (key for key in tuned if "lora_A" in key):
        wanted = one * (product(tuned, key) + product(noisy, key)) / 2
        assert (both * product(mean, key) - wanted).abs().max() < 1e-5


def test_hard_negatives_are_chosen_recorded_and_reported(folder):
    for name, count in (("harder", 1), ("judged", 2), ("given", 1)):
        place = folder / f"results/tiny/negatives/{name}"
        table, qc = pd.read_parquet(place / "negatives.parquet"), json.loads((place / "qc.json").read_text())
        pairs = pd.read_parquet(folder / "results/tiny/pairs/halves/pairs.parquet")
        assert 0 < len(table) <= count * len(pairs) and qc["chosen"] == len(table)
        assert not set(zip(table["text"], table["negative"], strict=True)) & set(zip(pairs["text"], pairs["positive"],
                                                                                     strict=True))  # fmt: skip
        record = json.loads((folder / f"results/tiny/adapters/{name}.meta.json").read_text())
        assert f"results/tiny/negatives/{name}/negatives.parquet" in record["inputs"]
        assert record["spec"]["hard_negatives"]["count"] == count
    given = pd.read_parquet(folder / "results/tiny/negatives/given/negatives.parquet")
    assert set(given["negative"]) <= set(pd.read_csv(folder / "threes.csv")["other"])


def test_a_model_without_its_mask_is_exported_with_the_pipelines_vectors(folder):
    parity = json.loads((folder / "results/tiny/parity/out.json").read_text())
    assert parity["lowest_cosine"] >= 0.9999
    assert json.loads((folder / "results/tiny/models/out/config.json").read_text())["is_causal"] is False


def test_left_out_words_are_summarised_and_drawn(folder):
    summary = pd.read_parquet(folder / "results/tiny/omission_summary.parquet")
    assert set(summary["adapter"]) == {"base", "tuned", "control"} and summary["n"].eq(3).all()
    assert (folder / "results/tiny/figures/omissions.svg").exists()
    measured = pd.read_parquet(folder / "results/tiny/omissions.parquet")
    assert measured["effect"].between(0, 2).all() and measured.groupby(["model", "adapter"]).size().nunique() == 1


def test_value_norms_stand_beside_attention_and_are_drawn(folder):
    summary = pd.read_parquet(folder / "results/tiny/value_norm_summary.parquet")
    assert set(summary["adapter"]) == {"base", "tuned", "control"}
    assert (
        summary[["share", "plain_share"]].notna().all(axis=None) and (summary["share"] != summary["plain_share"]).any()
    )
    assert (folder / "results/tiny/figures/value_norms.svg").exists()


def test_nothing_runs_again_and_an_edit_runs_only_what_it_reaches(folder):
    assert jobs(snakemake(folder, "-n", "ablations", "models", "attention")) == {}
    config = variants(folder / "given")
    config["attention"]["omissions"] = 4
    assert set(jobs(snakemake(folder, "-n", "ablations", "models", "attention", config=config))) == {
        "omit_words", "summarise_omissions", "attention",
    }  # fmt: skip
    config = variants(folder / "given")
    config["adapters"]["harder"]["hard_negatives"]["ranks"] = [2, 50]
    again = jobs(snakemake(folder, "-n", "adapters", config=config))
    assert again["choose_negatives"] == again["train_adapter"] == 1 and "make_pairs" not in again
    config = variants(folder / "given")
    config["models"]["open"]["causal"] = True
    again = jobs(snakemake(folder, "-n", "ablation_masks", config=config))
    assert again["embed_checkpoint"] == again["score_checkpoint"] == 1
    snakemake(folder, "-n", "ablations", config=variants(folder / "given"))


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving(tmp_path / "served") as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_an_adapter_comes_from_the_hub_at_its_commit(prepare, hub, tmp_path):
    place = with_negatives(prepare(tmp_path / "study"))
    commit = publish_model(hub, tiny_adapter(tmp_path / "given", place / "model"), "owner/lora")
    config = variants("owner/lora", commit)
    answer = snakemake(place, "results/tiny/adapters/theirs", "--quiet", config=config)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    found = (place / "results/tiny/hub/models").glob("owner--lora*.json")
    (marker,) = [path for path in found if not path.name.endswith(".meta.json")]
    assert json.loads(marker.read_text())["commit"] == commit
    given = load_file(tmp_path / "given/adapter_model.safetensors")
    assert all(value.equal(given[key]) for key, value in weights(place, "theirs", 7).items())
