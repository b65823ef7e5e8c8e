"""Post-processings and aggregations through the workflow: what runs, what is compared, and what runs again."""

import pandas as pd
import pytest
from promptpool.embedding.aggregation import Aggregation
from promptpool.embedding.post_processing import read_statistics
from promptpool.embedding.vector_file import read_vectors
from tiny import tiny_model
from tiny_study import jobs, sentences, snakemake, study

pytestmark = pytest.mark.workflow
NEW = {"choose_fitting_texts", "fit_statistics", "score_readouts"}
TWO = {"parts": [{"pooling": "last", "post_processing": "soft-whiten(0.5)"}, {"pooling": "mean", "layer": 1}]}
SHORT = ["cut(16)", "int8", "cut(16)+binary"]  # stored vectors again, with fewer numbers or bits
FIXED = {"model": "small", "adapter": "base", "prompt": "cluster", "layer": -1}


def untuned() -> dict:
    """The tiny study without training, which has no readout beyond poolings."""
    config = study()
    for section in ("pairs", "adapters", "exports", "attention"):
        config.pop(section)
    config["grid"] |= {"prompts": ["cluster"], "poolings": ["last", "mean"], "layers": [-1, 1], "adapters": []}
    config["ablations"] = {"poolings": {"vary": "pooling", "baseline": "last", "values": ["mean"], "fixed": FIXED}}
    return config


def with_readouts() -> dict:
    config = untuned()
    config["grid"]["post_processing"] = ["none", "center", *SHORT]
    config["aggregations"] = {"two": TWO}
    config["fitting"] = {"corpora": ["lines"], "texts": 40}
    config["ablations"] |= {
        "post": {"vary": "post_processing", "baseline": "none", "fixed": {**FIXED, "pooling": "last"}},
        "aggregated": {"vary": "pooling", "baseline": "last", "values": ["two"], "fixed": FIXED},
    }
    return config


def test_readouts_are_fitted_scored_and_compared_and_only_what_is_new_runs(tmp_path):
    tiny_model(tmp_path / "model")
    sentences(1, 10).to_csv(tmp_path / "labelled.csv", index=False)
    sentences(2, 20).to_csv(tmp_path / "corpus.csv", index=False)
    assert not NEW & set(jobs(snakemake(tmp_path, "-n", "ablations", config=untuned())))

    drawn = "results/tiny/figures/size_scores.svg"
    answer = snakemake(tmp_path, "ablations", drawn, "--quiet", config=with_readouts())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    results = tmp_path / "results/tiny"
    tables = {name: pd.read_parquet(results / f"ablations/{name}.parquet") for name in ("post", "aggregated")}
    assert set(tables["post"]["value"]) == {"none", "center", *SHORT}
    scores = tables["post"].query("task == 'mean'").set_index("value")["score"]
    assert scores.nunique() > 2 and (results / "figures/size_scores.svg").exists()
    assert set(tables["aggregated"]["value"]) == {"last", "two"}
    texts = pd.read_parquet(results / "fitting/texts.parquet")
    assert len(texts) == 40 and set(texts["source"]) == {"corpora.lines"}

    (family,) = (results / "embeddings/small/base/topics").glob("*.safetensors")
    known = read_statistics(results / f"statistics/small/base/{family.name}")
    whole = {**TWO["parts"][0], "layer": -1, "weight": 1}, {**TWO["parts"][1], "post_processing": "none", "weight": 1}
    readout = Aggregation.of({"name": "two", "layer": -1, "scale": "text", "parts": whole})
    assert readout.read("cluster", read_vectors(family), known).shape == (30, 64)

    assert jobs(snakemake(tmp_path, "-n", "ablations")) == {}
    more = with_readouts()
    more["aggregations"]["three"] = {"parts": [*TWO["parts"], {"pooling": "last", "layer": 1}], "scale": "corpus"}
    assert set(jobs(snakemake(tmp_path, "-n", "ablation_aggregated", config=more))) <= {
        "fit_statistics", "score_readouts", "compare_ablation", "ablation_aggregated", "draw_ablation",
    }  # fmt: skip
