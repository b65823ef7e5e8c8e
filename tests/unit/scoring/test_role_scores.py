"""Scores by role: MTEB's own prompt types decide which vectors a text gets."""

import numpy as np
import pandas as pd
import pytest
from promptpool.embedding.vector_file import write_vectors
from promptpool.scoring.role_scores import RoleScores
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer
from promptpool.tasks.build_task import build_task

SHIFT = 3  # queries lie this many places from their own document, if both are embedded as documents


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> ScoredTask:
    """Twelve queries and twelve documents; one text is both a query and a document."""
    folder = tmp_path_factory.mktemp("search")
    texts = [f"text number {n}" for n in range(12)]
    documents = [texts[0], *(f"an answer to {n}" for n in range(1, 12))]
    pd.DataFrame({"_id": [f"q{n}" for n in range(12)], "text": texts}).to_json(
        folder / "queries.jsonl", orient="records", lines=True
    )
    pd.DataFrame({"_id": [f"d{n}" for n in range(12)], "text": documents}).to_json(
        folder / "corpus.jsonl", orient="records", lines=True
    )
    qrels = pd.DataFrame({"query-id": [f"q{n}" for n in range(12)], "corpus-id": [f"d{n}" for n in range(12)]})
    qrels.assign(score=1).to_csv(folder / "qrels.tsv", sep="\t", index=False)
    spec = {"source": "retrieval", "id": "_id", "text": "text", "title": None}
    spec |= {name: str(folder / file) for name, file in
             (("queries", "queries.jsonl"), ("documents", "corpus.jsonl"), ("qrels", "qrels.tsv"))}  # fmt: skip
    build_task("Search", spec, None, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))
    return ScoredTask("Search", spec, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))


def vectors(folder, texts: list[str], shift: int, prompt: str) -> str:
    """Each text's number as an axis. A query's axis is `shift` places on."""
    rows = [(int(text.split()[-1]) + shift * text.startswith("text")) % 12 for text in texts]
    path = str(folder / f"{prompt}.safetensors")
    write_vectors(path, {(prompt, pooling, -1): np.eye(12, dtype=np.float32)[rows] for pooling in ("last", "mean")})
    return path


def main_scores(table: pd.DataFrame) -> dict:
    return table[table["metric"] == "main_score"].set_index("pooling")["value"].to_dict()


def test_a_query_has_its_vector_under_the_query_prompt(search, tmp_path):
    texts = pd.read_parquet(search.texts)["text"].tolist()
    files = {"a": vectors(tmp_path, texts, 0, "ask"), "b": vectors(tmp_path, texts, SHIFT, "plain")}
    scorer = Scorer(search)
    table, lines = RoleScores.of(
        "search", {"query": ["ask", "a"], "document": ["plain", "b"]}, files, "small", "tuned@4"
    ).scores(scorer)
    assert set(table["prompt"]) == {"search"} and set(table["adapter"]) == {"tuned"} and set(table["step"]) == {4}
    assert len(lines) == 2
    # The text that is both has one vector as a query and another as a document, so only its own search misses.
    found = main_scores(table)
    assert found["last"] == found["mean"] == pytest.approx(11 / 12, abs=0.08) and found["last"] < 1
    both = RoleScores.of("both", {"query": ["plain", "b"], "document": ["plain", "b"]}, files, "small", "base")
    wrong = main_scores(both.scores(scorer)[0])
    assert wrong["last"] < 0.5


def test_a_task_without_queries_has_the_document_prompts_scores(tmp_path):
    labelled = pd.DataFrame({"text": [f"line number {n}" for n in range(30)], "label": [str(n % 3) for n in range(30)]})
    labelled.to_csv(tmp_path / "labelled.csv", index=False)
    spec = {"source": "file", "path": str(tmp_path / "labelled.csv"), "text": "text", "label": "label"}
    build_task("Topics", spec, None, str(tmp_path / "labelled.parquet"), str(tmp_path / "texts.parquet"))
    task = ScoredTask("Topics", spec, str(tmp_path / "labelled.parquet"), str(tmp_path / "texts.parquet"))
    texts = pd.read_parquet(task.texts)["text"].tolist()
    draw = np.random.default_rng(0)
    by_label = np.eye(3, dtype=np.float32)[[int(text.split()[-1]) % 3 for text in texts]]
    files = {}
    for name, matrix in (("plain", by_label), ("ask", draw.normal(size=(len(texts), 3)).astype(np.float32))):
        files[name] = str(tmp_path / f"{name}.safetensors")
        write_vectors(files[name], {(name, "last", -1): matrix})
    sides = {"query": ["ask", "ask"], "document": ["plain", "plain"]}
    table, _ = RoleScores.of("search", sides, files, "small", "base").scores(Scorer(task))
    assert main_scores(table)["last"] == pytest.approx(1)
