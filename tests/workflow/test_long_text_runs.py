"""Long texts through the whole workflow: cut, in chunks by their mean, and searched by their most similar chunk."""

import json
from pathlib import Path

import pandas as pd
import pytest
from test_retrieval_runs import search, write_files
from tiny_study import jobs, sentences, snakemake

pytestmark = pytest.mark.workflow
MOST = 8


def config() -> dict:
    study = search()
    study["tasks"] |= {
        "topics": {"source": "file", "path": "labelled.csv"},
        "whole": {"source": "file", "path": "labelled.csv", "long_texts": "mean", "chunk_overlap": 2},
    }
    study["tasks"]["search"]["long_texts"] = "max-sim"
    study["grid"] |= {"max_text_tokens": MOST, "post_processing": ["none", "int8"], "adapters": []}
    study["fitting"] = {"corpora": ["lines"], "texts": 40}
    study["baselines"] = {"random": {"kind": "random", "dim": 16}}
    study["exports"]["out"]["adapter"] = "base"
    for section in ("adapters", "pairs", "ablations"):
        study[section] = {}
    return study


def lengths(path: Path) -> dict:
    return json.loads(Path(f"{path}.meta.json").read_text())["text_lengths"]


def test_long_texts_are_counted_and_read_in_chunks(prepare, tmp_path):
    folder = prepare(tmp_path / "study")
    write_files(folder)
    answer = snakemake(folder, "--quiet", config=config())
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    results = folder / "results/tiny"
    known = lengths(results / "embeddings/small/base/all.json")
    count = len(sentences(1, 12))
    assert known["topics"]["how"] == "cut" and known["whole"]["how"] == "mean" and known["search"]["how"] == "max-sim"
    assert known["topics"]["long"] == known["whole"]["long"] > count / 2
    assert known["topics"]["before"] == known["whole"]["before"] > known["topics"]["after"]
    assert known["whole"]["overlap"] == 2 and known["whole"]["chunks"] > count

    scores = pd.read_parquet(results / "scores.parquet").query("metric == 'main_score' and adapter == 'base'")
    by_task = scores.groupby("task")["pooling"].agg(set)
    assert by_task["search"] == by_task["topics"] == {"mean", "last", "mean+int8", "last+int8"}
    assert len(pd.read_parquet(results / "embeddings/small/base/search/chunks.parquet")) > 43

    page = (results / "report.html").read_text()
    assert "Long texts" in page and "task search, model small" in page and "fitting texts, model small" in page
    assert "are cut, and only their beginnings count" in page
    card = (results / "models/out/README.md").read_text()
    assert "Long texts of `search` were scored in chunks" in card and "weighted by tokens" in card
    assert json.loads((results / "parity/out.json").read_text())["lowest_cosine"] >= 0.9999
    assert jobs(snakemake(folder, "-n", config=config())) == {}
