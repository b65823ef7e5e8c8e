"""Own queries, documents and relevance through the whole workflow: built, scored by role, compared with TF-IDF.

An adapter is tuned by role, judged by role and exported with both prompts.
"""

import json
from pathlib import Path

import pandas as pd
import pytest
from promptpool.artifacts.files import sidecar_path
from tiny_study import jobs, sentences, snakemake, study

pytestmark = pytest.mark.workflow
ROLES_AND_PROMPTS = ("none", "ask", "search")


def search() -> dict:
    config = study()
    config["tasks"] = {
        "search": {"source": "retrieval", "queries": "queries.jsonl", "documents": "corpus.jsonl", "qrels": "test.tsv"}
    }
    for section in ("ablations", "exports", "ensembles", "aggregations"):
        config.pop(section, None)
    config["pairs"].pop("written")
    config["attention"] = config["map"] = None
    config["baselines"]["bm25"] = {"kind": "bm25"}
    config["prompts"] = {"none": "{text}", "ask": 'Which text goes on with "{text}"?'}
    config["roles"] = {"search": {"query": "ask", "document": "none"}}
    config["adapters"]["tuned"] |= {"prompt": "search", "steps": [2], "max_steps": 2, "validation": 0.4}
    config["exports"] = {"out": {"model": "small", "adapter": "tuned@2", "prompt": "search", "pooling": "last"}}
    config["grid"] = {"models": ["small"], "prompts": ["none", "ask"], "poolings": ["mean", "last"], "layers": [-1]}
    config["ablations"] = {
        "roles": {
            "vary": "prompt", "baseline": "none", "values": ["ask", "search"],
            "fixed": {"model": "small", "adapter": "tuned@2", "pooling": "last", "layer": -1},
        }
    }  # fmt: skip
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
    config = search()
    answer = snakemake(folder, "--quiet", config=config)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    results = folder / "results/tiny"
    scores = pd.read_parquet(results / "scores.parquet").query("task == 'search'")
    assert {"ndcg_at_10", "recall_at_10", "mrr_at_10", "main_score"} <= set(scores["metric"])
    main = scores[scores["metric"] == "main_score"].set_index("model")["value"]
    assert min(main["tfidf-svd"], main["bm25"]) > main["random"]  # halves of a text share its words
    plain = "model == 'small' and adapter == 'base' and prompt == 'none' and pooling == 'mean'"
    ours = scores.query(plain).set_index("metric")["value"]
    assert ours["main_score"] == ours["ndcg_at_10"]
    summary = pd.read_parquet(results / "summary.parquet").query("task == 'mean'")
    assert (summary["low"] < summary["score"]).any()
    built = results / "tasks/search/labelled.parquet"
    counts = json.loads(Path(sidecar_path(built)).read_text())
    assert counts["queries"] == 12 and counts["queries_without_relevant"] == 1

    # Each prompt alone, and both by role, before and after tuning.
    named = scores.query("model == 'small' and metric == 'main_score'").groupby(["adapter", "prompt"]).size()
    assert named.to_dict() == {(adapter, prompt): 2 for adapter in ("base", "tuned") for prompt in ROLES_AND_PROMPTS}
    table = pd.read_parquet(results / "ablations/roles.parquet").query("task == 'mean'").set_index("value")
    assert set(table.index) == set(ROLES_AND_PROMPTS) and table["estimate"].notna().all()
    verdict = json.loads((results / "verdict.json").read_text())
    assert verdict["prompt"]["template"] == {"query": config["prompts"]["ask"], "document": "{text}"}
    parity = json.loads((results / "parity/out.json").read_text())
    assert parity["lowest_cosine"] >= 0.9999 and parity["calls"] == ["encode_query", "encode_document"]
    told = pd.read_parquet(results / "summary.parquet")
    assert (told["row"] == "export out").any() and jobs(snakemake(folder, "-n", config=config)) == {}

    # Another relevance scores again, and embeds nothing: the texts are the same.
    kept = {path: path.stat().st_mtime_ns for path in results.glob("embeddings/**/*.safetensors")}
    lines = (folder / "test.tsv").read_text().splitlines()
    (folder / "test.tsv").write_text("\n".join([*lines[:-1], "q11\td3\t1"]) + "\n")
    again = snakemake(folder, "--quiet", config=search())
    assert again.returncode == 0, again.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in results.glob("embeddings/**/*.safetensors")} == kept
    moved = pd.read_parquet(results / "scores.parquet").query(f"metric == 'main_score' and {plain}")["value"]
    assert moved.item() != ours["main_score"]
