"""Synthetic queries through the whole workflow: trained by role, and a search over texts that training never sees.

A pretended server writes them, so that no number here says how good a query is.
"""

import json
import re

import pandas as pd
import pytest
from fake_openai import fake_openai
from tiny_study import jobs, snakemake, study

pytestmark = pytest.mark.workflow
TASK = "SyntheticLines"


def query_of(prompt: str) -> dict:
    """A question or a phrase of the text's own words; of some texts a question that no text answers."""
    words = prompt.splitlines()[-1].split()
    number = int(re.search(r"\d+", prompt.splitlines()[-1])[0])
    said = f"which of them has {' and '.join(words[1:4])}?" if prompt.startswith("Ask") else " ".join(words[-4:])
    if number % 5 == 0 and prompt.startswith("Ask"):
        said = f"will it rain on the {number + 1000}th?"
    return {"choice": {"message": {"role": "assistant", "content": said}}}


def with_queries(url: str) -> dict:
    config = study()
    written = {"corpus": "lines", "backend": "openai", "model": "writer", "temperature": 0.5}
    trip = {"among": 30, "within": 3}
    config["corpora"]["lines"]["task_share"] = 0.3
    config["backends"] = {"openai": {"url": url, "key_variable": None}}
    config["pairs"] = {
        "queries": {**written, "styles": ["search-question", "search-phrase"], "per_text": 2,
                    "filters": {"min_words": 2, "round_trip": trip, "length_ratio": [0.9, 20]}},
        "asked": {**written, "styles": ["search-phrase"], "split": "task", "filters": {"min_words": 2}},
    }  # fmt: skip
    config["tasks"] = {TASK: {"source": "synthetic-search", "pairs": "asked", "most_queries": 15}}
    config["prompts"] = {"none": "{text}", "ask": 'Which text answers "{text}"?'}
    config["roles"] = {"search": {"query": "ask", "document": "none"}}
    config["adapters"]["tuned"] |= {
        "pairs": ["queries"], "prompt": "search", "steps": [2], "max_steps": 2, "validation": 0.3,
    }  # fmt: skip
    config["grid"] = {"models": ["small"], "prompts": ["none", "ask"], "poolings": ["mean"], "layers": [-1]}
    config["baselines"] = {"bm25": {"kind": "bm25"}, "tfidf-svd": {"kind": "tfidf-svd", "dim": 16}}
    config["attention"] = config["map"] = None
    for section in ("ablations", "exports"):
        config.pop(section)
    return config


def test_queries_are_trained_on_by_role_and_make_a_search_that_says_what_it_is(prepare, tmp_path):
    folder = prepare(tmp_path / "study")
    with fake_openai() as server:
        server.rule = query_of
        config = with_queries(server.url)
        answer = snakemake(folder, "--quiet", config=config)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    results = folder / "results/tiny"
    corpus = pd.read_parquet(results / "corpora/lines.parquet").set_index("text")["split"]
    pairs = {name: pd.read_parquet(results / f"pairs/{name}/pairs.parquet") for name in config["pairs"]}

    # Queries are the pairs' texts, several go to one text, and each set keeps to its own texts.
    assert pairs["queries"]["positive"].value_counts().max() == 2 and pairs["queries"]["text"].is_unique
    assert set(corpus[pairs["queries"]["positive"]]) == {"train"} and set(corpus[pairs["asked"]["positive"]]) == {
        "task"
    }
    rejected = pd.read_parquet(results / "pairs/queries/rejected.parquet")
    lost = rejected[rejected["reason"] == "round-trip"]
    assert len(lost) and lost["text"].str.startswith("will it rain").all()
    qc = json.loads((results / "pairs/queries/qc.json").read_text())
    assert qc["round_trip"]["lost"] == len(lost) == qc["rejected"]["round-trip"] == len(qc["round_trip"]["samples"])

    # The search: scored with intervals, beside its floors, and marked wherever it stands.
    scores = pd.read_parquet(results / "scores.parquet").query(f"task == '{TASK}'")
    assert {"ndcg_at_10", "recall_at_10", "mrr_at_10", "main_score"} <= set(scores["metric"])
    main = scores[(scores["metric"] == "main_score") & (scores["adapter"] == "baseline")].set_index("model")["value"]
    assert set(main.index) == {"bm25", "tfidf-svd"} and main["bm25"] > 0.8  # its queries copy words
    assert set(scores.loc[scores["adapter"] == "tuned", "prompt"]) == {"none", "ask", "search"}
    told = json.loads((results / f"tasks/{TASK}/texts.parquet.meta.json").read_text())
    assert told["spec"]["synthetic"] is True and told["queries"] == 15
    assert told["documents"] == (corpus == "task").sum()
    summary = pd.read_parquet(results / "summary.parquet")
    assert (summary["low"] < summary["high"]).any()
    for text in ("summary.txt", "report.html"):
        words = " ".join((results / text).read_text(encoding="utf-8").split())
        assert "a language model wrote their queries, no person asked them" in words, text
    report = (results / "report.html").read_text(encoding="utf-8")
    assert "No adapter is trained on them." in report and "queries of queries that did not find their text" in report

    # Another threshold asks nobody: queries are selected again, from those that are there.
    config["pairs"]["queries"]["filters"]["round_trip"] |= {"within": 20}
    again = jobs(snakemake(folder, "-n", config=config))
    assert again["select_pairs"] == 1 and again["train_adapter"] == 1
    assert not {"make_pairs", "write_search", "build_task"} & set(again)
