"""What a grid may ask for beyond prompts and poolings: text spans, shares of the depth, echoes, ensembles."""

import numpy as np
import pandas as pd
import pytest
from promptpool.embedding.vector_file import read_vectors
from tiny import tiny_model
from tiny_study import sentences, snakemake, study

pytestmark = pytest.mark.workflow


def wide_grid() -> dict:
    """The tiny study, untuned, with one of each."""
    config = study()
    for section in ("pairs", "adapters", "exports", "attention"):
        config.pop(section)
    config["prompts"]["echo"] = 'Say "{text}" again: "{text}"'
    config["ensembles"] = {"meta": {"prompts": ["none", "cluster"]}}
    config["grid"] |= {
        "prompts": ["none", "eol", "cluster", "echo"], "poolings": ["last", "mean:text"], "layers": [-1, 0.5],
        "adapters": [],
    }  # fmt: skip
    fixed = {"model": "small", "adapter": "base", "pooling": "mean:text"}
    config["ablations"] = {
        "layers": {"vary": "layer", "baseline": 0.5, "fixed": {**fixed, "prompt": "meta"}},
        "prompts": {"vary": "prompt", "baseline": "meta", "fixed": {**fixed, "layer": -1}},
    }
    return config


def test_a_wide_grid_is_embedded_scored_and_compared(tmp_path):
    tiny_model(tmp_path / "model")
    sentences(1, 10).to_csv(tmp_path / "labelled.csv", index=False)
    sentences(2, 10).to_csv(tmp_path / "corpus.csv", index=False)
    answer = snakemake(tmp_path, "ablations", "scores", "--quiet", config=wide_grid())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    results = tmp_path / "results/tiny"
    scores = pd.read_parquet(results / "scores.parquet")
    own = scores[scores["adapter"] == "base"]
    assert set(own["prompt"]) == {"none", "eol", "cluster", "echo", "meta"}
    assert set(own["pooling"]) == {"last", "mean:text"} and set(own["layer"]) == {-1, 0.5}
    layers = pd.read_parquet(results / "ablations/layers.parquet")
    assert set(layers["value"]) == {"-1", "0.5"} and set(layers["baseline"]) == {"0.5"}
    assert "meta" in set(pd.read_parquet(results / "ablations/prompts.parquet")["value"])

    found = {}
    for path in (results / "embeddings/small/base/topics").glob("*.safetensors"):
        found |= dict(read_vectors(path))
    assert len(found) == 5 * 2 * 2
    mean = (found["none", "last", 0.5] + found["cluster", "last", 0.5]) / 2
    np.testing.assert_allclose(found["meta", "last", 0.5], mean, rtol=1e-6)
    assert not list(results.rglob("*.scratch"))
