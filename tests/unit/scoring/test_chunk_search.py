"""Max-sim: a document in chunks is as similar to a query as its most similar chunk, in MTEB's own measures."""

import numpy as np
import pandas as pd
import pytest
import torch
from mteb.types import PromptType
from promptpool.embedding.vector_file import write_vectors
from promptpool.scoring.chunk_search import ChunkEncoder, ChunkPlaces
from promptpool.scoring.role_scores import RoleScores
from promptpool.scoring.score_checkpoint import FamilyScores
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer
from promptpool.tasks.build_task import build_task

DOCUMENTS, CHUNKS = 12, 3


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> ScoredTask:
    folder = tmp_path_factory.mktemp("search")
    for name, kind in (("queries", "q"), ("corpus", "d")):
        rows = pd.DataFrame({"_id": [f"{kind}{n}" for n in range(DOCUMENTS)]})
        rows.assign(text=[f"{name} {n}" for n in range(DOCUMENTS)]).to_json(
            folder / f"{name}.jsonl", orient="records", lines=True
        )
    pairs = pd.DataFrame({"query-id": [f"q{n}" for n in range(12)], "corpus-id": [f"d{n}" for n in range(12)]})
    pairs.assign(score=1).to_csv(folder / "qrels.tsv", sep="\t", index=False)
    spec = {"source": "retrieval", "id": "_id", "text": "text", "title": None}
    spec |= {key: str(folder / file) for key, file in
             (("queries", "queries.jsonl"), ("documents", "corpus.jsonl"), ("qrels", "qrels.tsv"))}  # fmt: skip
    build_task("Search", spec, None, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))
    return ScoredTask("Search", spec, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))


@pytest.fixture(scope="module")
def files(search, tmp_path_factory) -> tuple[str, str, str]:
    """(vectors of chunks, means of them, the table of chunks). One chunk of document n points where query n does, the
    others point, longer, where query n + 1 does not, but another direction of all documents.
    """
    folder = tmp_path_factory.mktemp("vectors")
    texts = pd.read_parquet(search.texts)["text"].tolist()
    axes = np.eye(2 * DOCUMENTS, dtype=np.float32)
    rows, owners = [], []
    for row, text in enumerate(texts):
        kind, number = text.split()[0], int(text.split()[1])
        own = [axes[number]] if kind == "queries" else [axes[number], *[4 * axes[(number + 1) % DOCUMENTS]] * 2]
        rows += own
        owners += [row] * len(own)
    table = pd.DataFrame({"text": owners, "chunk": "some words", "tokens": 2})
    table.to_parquet(folder / "chunks.parquet")
    matrix = np.array(rows)
    write_vectors(folder / "chunks.safetensors", {("plain", "last", -1): matrix})
    means = np.array([matrix[np.array(owners) == row].mean(0) for row in range(len(texts))])
    write_vectors(folder / "means.safetensors", {("plain", "last", -1): means})
    return str(folder / "chunks.safetensors"), str(folder / "means.safetensors"), str(folder / "chunks.parquet")


def score(table: pd.DataFrame, metric: str) -> float:
    return table[table["metric"] == metric]["value"].item()


def test_the_most_similar_chunk_counts(search, files):
    chunks, means, table = files
    scorer = Scorer(search)
    by_chunk, _ = FamilyScores(chunks, "small", "base", table).scores(scorer)
    by_mean, _ = FamilyScores(means, "small", "base").scores(scorer)
    # Of each query two documents have a chunk of its direction: by chunks they tie, by means the wrong one is first.
    assert score(by_chunk, "recall_at_1") >= 0.25 and score(by_mean, "recall_at_1") == 0
    assert score(by_chunk, "ndcg_at_10") > score(by_mean, "ndcg_at_10")
    assert (by_chunk["metric"] == "main_score_bootstrap").sum() == 1  # with an interval


def test_roles_search_in_chunks_too(search, files):
    chunks, _, table = files
    sides = {"query": ["plain", "a"], "document": ["plain", "a"]}
    roles = RoleScores.of("search", sides, {"a": chunks}, "small", "base", table)
    scorer = Scorer(search)
    alone, _ = FamilyScores(chunks, "small", "base", table).scores(scorer)
    assert score(roles.scores(scorer)[0], "ndcg_at_10") == score(alone, "ndcg_at_10")
    assert roles.files == [chunks, table]


def test_similarities_equal_a_loop_over_chunks(monkeypatch):
    draw = np.random.default_rng(0)
    counts = np.array([1, 3, 2, 5])
    places = ChunkPlaces(np.cumsum(counts) - counts, counts, draw.integers(1, 9, counts.sum()))
    matrix = draw.normal(size=(counts.sum(), 6)).astype(np.float32)
    encoder = ChunkEncoder({f"t{n}": n for n in range(4)}, places, matrix, "name")
    documents = encoder.encode([{"text": ["t2", "t0", "t3"]}], prompt_type=PromptType.document)
    queries = encoder.encode([{"text": ["t1", "t3", "t0"]}], prompt_type=PromptType.query)
    own = [np.arange(start, start + count) for start, count in zip(places.starts, counts, strict=True)]
    for row, text in enumerate((1, 3, 0)):
        wanted = np.average(matrix[own[text]], axis=0, weights=places.tokens[own[text]])
        np.testing.assert_allclose(queries[row], wanted, rtol=1e-5)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    for cells in (1, 1 << 26):
        monkeypatch.setattr("promptpool.scoring.chunk_search.CHUNK_CELLS", cells)
        found = encoder.similarity(torch.from_numpy(queries), documents)
        for row, query in enumerate(queries / np.linalg.norm(queries, axis=1, keepdims=True)):
            wanted = [(unit[own[text]] @ query).max() for text in (2, 0, 3)]
            np.testing.assert_allclose(found[row], wanted, rtol=1e-5)


def test_vectors_of_another_number_are_refused(search, files):
    with pytest.raises(Exception, match="24 vectors for 48 chunks of texts"):
        FamilyScores(files[1], "small", "base", files[2]).scores(Scorer(search))
