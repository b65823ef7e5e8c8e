"""Own retrieval sets through MTEB: its nDCG and recall are those of scikit-learn and of a count."""

import numpy as np
import pandas as pd
import pytest
from promptpool.data.retrieval_files import RETRIEVAL_COLUMNS
from promptpool.scoring.replicates import observed
from promptpool.statistics.bootstrap import of_queries
from promptpool.statistics.samples import RESAMPLED
from promptpool.tasks.encoders import LookupEncoder, RecordingEncoder
from promptpool.tasks.mteb_tasks import TaskSource, evaluate, facts_of
from sklearn.metrics import ndcg_score

QUERIES, DOCUMENTS = 30, 60


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = [("query", f"q{n}", None, f"query {n}", None) for n in range(QUERIES)]
    rows += [("document", f"d{n}", None, f"document {n}", None) for n in range(DOCUMENTS)]
    for query in range(QUERIES):
        for place, document in enumerate(draw.choice(DOCUMENTS, 3, replace=False)):
            rows.append(("relevant", f"q{query}", f"d{document}", None, 1 + (place == 0)))
    return pd.DataFrame(rows, columns=RETRIEVAL_COLUMNS).astype({"score": "Int64"})


def test_scores_are_those_of_other_implementations(table):
    source = TaskSource("mine", {"source": "retrieval"}, table)
    recorder = RecordingEncoder()
    task = source.fresh()
    evaluate(recorder, task)
    assert sorted(recorder.texts) == sorted(table["text"].dropna())
    assert recorder.texts["query 1"] == {"query"} and recorder.texts["document 1"] == {"document"}
    assert facts_of(task, recorder) | {"mteb_name": "mine", "type": "Retrieval"} == facts_of(task, recorder)

    vectors = np.random.default_rng(1).standard_normal((len(recorder.texts), 16)).astype(np.float32)
    rows = {text: row for row, text in enumerate(recorder.texts)}
    result, beyond = observed(LookupEncoder(rows, vectors, "random"), source.fresh())
    (entry,) = result.scores["test"]

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = unit[[rows[f"query {n}"] for n in range(QUERIES)]]
    cosines = queries @ unit[[rows[f"document {n}"] for n in range(DOCUMENTS)]].T
    gains = np.zeros((QUERIES, DOCUMENTS))
    for row in table[table["part"] == "relevant"].itertuples():
        gains[int(row.id[1:]), int(row.other[1:])] = row.score
    # trec_eval's gain is linear, as scikit-learn's.
    assert entry["main_score"] == pytest.approx(ndcg_score(gains, cosines, k=10), abs=1e-4)
    best = np.argsort(-cosines, axis=1)[:, :10]
    found = np.take_along_axis(gains > 0, best, axis=1).sum(1) / (gains > 0).sum(1)
    assert entry["recall_at_10"] == pytest.approx(found.mean(), abs=1e-4)
    (replicates,) = [values for key, values in beyond.items() if key[-1] == RESAMPLED]
    assert np.mean(replicates) == pytest.approx(entry["main_score"], abs=0.02) and np.std(replicates) > 0.005


def test_reciprocal_ranks_have_an_interval_over_queries(table):
    source = TaskSource("mine", {"source": "retrieval", "measure": "mrr_at_10"}, table)
    known = table.dropna(subset="text")["text"].unique()
    vectors = np.random.default_rng(2).standard_normal((len(known), 16)).astype(np.float32)
    rows = {text: row for row, text in enumerate(known)}
    result, beyond = observed(LookupEncoder(rows, vectors, "random"), source.fresh())
    (entry,) = result.scores["test"]

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = unit[[rows[f"query {n}"] for n in range(QUERIES)]]
    best = np.argsort(-queries @ unit[[rows[f"document {n}"] for n in range(DOCUMENTS)]].T, axis=1)[:, :10]
    relevant = {(int(row.id[1:]), int(row.other[1:])) for row in table[table["score"] > 0].itertuples()}
    own = [
        max((1 / (rank + 1) for rank, n in enumerate(line) if (q, n) in relevant), default=0)
        for q, line in enumerate(best)
    ]
    assert entry["main_score"] == entry["mrr_at_10"] == pytest.approx(np.mean(own), abs=1e-4)
    (replicates,) = [values for key, values in beyond.items() if key[-1] == RESAMPLED]
    in_order = [own[int(name[1:])] for name in sorted(f"q{n}" for n in range(QUERIES))]
    np.testing.assert_allclose(replicates, of_queries(in_order), atol=1e-6)
