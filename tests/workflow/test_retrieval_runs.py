"""Own queries, documents and relevance through the whole workflow: built, scored, and compared with TF-IDF."""

import json
from pathlib import Path

import pandas as pd
import pytest
from promptpool.artifacts.files import sidecar_path
from tiny_study import sentences, snakemake, study

pytestmark = pytest.mark.workflow


def search() -> dict:
    config = study()
    config["tasks"] = {
        "search": {"source": "retrieval", "queries": "queries.jsonl", "documents": "corpus.jsonl", "qrels": "test.tsv"}
    }
    for section in ("pairs", "adapters", "ablations", "exports", "ensembles", "aggregations"):
        config.pop(section, None)
    config["attention"] = config["map"] = None
    config["grid"] = {"models": ["small"], "adapters": [], "prompts": ["none"], "poolings": ["mean"], "layers": [-1]}
    return config


def write_files(folder) -> None:
    """Documents are sentences, each query the first half of one, and one query has no document."""
    texts = sentences(5, 30)["text"].drop_duplicates().tolist()
    documents = [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    queries = [
        {"_id": f"q{n}", "text": " ".join(text.split()[: len(text.split()) // 2])} for n, text in enumerate(texts[:12])
    ]
    queries.append({"_id": "lost", "text": "nothing is relevant for this one"})
    for name, rows in (("queries", queries), ("corpus", documents)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    relevant = "".join(f"q{n}\td{n}\t1\n" for n in range(12))
    (folder / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + relevant)


def test_a_retrieval_set_is_scored_with_an_interval(prepare, tmp_path):
    folder = prepare(tmp_path / "study")
    write_files(folder)
    answer = snakemake(folder, "--quiet", config=search())
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    results = folder / "results/tiny"
    scores = pd.read_parquet(results / "scores.parquet").query("task == 'search'")
    assert {"ndcg_at_10", "recall_at_10", "mrr_at_10", "main_score"} <= set(scores["metric"])
    main = scores[scores["metric"] == "main_score"].set_index("model")["value"]
    assert main["tfidf-svd"] > main["random"]  # halves of a text share its words
    assert main["small"] == scores.query("metric == 'ndcg_at_10' and model == 'small'")["value"].item()
    summary = pd.read_parquet(results / "summary.parquet").query("task == 'mean'")
    assert (summary["low"] < summary["score"]).any()
    built = results / "tasks/search/labelled.parquet"
    counts = json.loads(Path(sidecar_path(built)).read_text())
    assert counts["queries"] == 12 and counts["queries_without_relevant"] == 1

    # Another relevance scores again, and embeds nothing: the texts are the same.
    kept = {path: path.stat().st_mtime_ns for path in results.glob("embeddings/**/*.safetensors")}
    lines = (folder / "test.tsv").read_text().splitlines()
    (folder / "test.tsv").write_text("\n".join([*lines[:-1], "q11\td3\t1"]) + "\n")
    again = snakemake(folder, "--quiet", config=search())
    assert again.returncode == 0, again.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in results.glob("embeddings/**/*.safetensors")} == kept
    moved = pd.read_parquet(results / "scores.parquet").query("metric == 'main_score' and model == 'small'")["value"]
    assert moved.item() != main["small"]
