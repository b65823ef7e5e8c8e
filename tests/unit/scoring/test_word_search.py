"""BM25 as a baseline of retrieval tasks: MTEB's measures of the ranking that shared words give."""

import json

import numpy as np
import pandas as pd
import pytest
from promptpool.artifacts.parts import listed_files
from promptpool.config.resolve import resolve
from promptpool.scoring.score_baseline import score_baseline
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.word_search import Bm25Encoder
from promptpool.study.study import Study
from promptpool.tasks.build_task import build_task
from promptpool.text.bm25 import Bm25
from sample_config import demo
from tiny_study import sentences

FILES = {"queries": "queries.jsonl", "documents": "corpus.jsonl", "qrels": "qrels.tsv"}


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> ScoredTask:
    """Documents are sentences, and each query the words of one in another order, but for some; one query is blank of
    known words, and one text is a query and a document."""
    folder = tmp_path_factory.mktemp("search")
    documents = sentences(3, 25)["text"].tolist()
    draw = np.random.default_rng(4)
    queries = [" ".join(draw.permutation(text.split())[: draw.integers(1, 4)]) for text in documents[:20]]
    queries += ["zzz qqq", documents[21]]
    for name, texts in (("queries", queries), ("corpus", documents)):
        rows = [{"_id": f"{name[0]}{n}", "text": text} for n, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    relevant = [f"q{n}\tc{n}\t1" for n in range(20)] + ["q20\tc30\t1", "q21\tc21\t1"]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *relevant]) + "\n")
    spec = {"source": "retrieval", "id": "_id", "text": "text", "title": None}
    spec |= {name: str(folder / file) for name, file in FILES.items()}
    build_task("Search", spec, None, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))
    return ScoredTask("Search", spec, str(folder / "labelled.parquet"), str(folder / "texts.parquet"))


def scored(task: ScoredTask, folder, name: str, baseline: dict) -> pd.DataFrame:
    score_baseline(str(folder / f"{name}.json"), [task], name=name, baseline=baseline, vectors=None)
    return pd.concat(map(pd.read_parquet, listed_files([str(folder / f"{name}.json")], ".parquet")))


def test_its_measures_are_those_of_the_words_ranking(search, tmp_path):
    found = scored(search, tmp_path, "words", {"kind": "bm25"})
    table = pd.read_parquet(search.labelled)
    queries, documents = (table[table["part"] == part].set_index("id")["text"] for part in ("query", "document"))
    likeness = pd.DataFrame(
        Bm25(documents.tolist()).likeness(queries.tolist()), index=queries.index, columns=documents.index
    )
    relevant = table[table["part"] == "relevant"].set_index("id")["other"]
    gains = []
    for query, own in relevant.items():
        row = likeness.loc[query]
        ahead, level = (row > row[own]).sum(), (row == row[own]).sum() - 1
        # Where ties decide, MTEB's order of ids does; of these a bound is enough.
        gains.append([1 / np.log2(place + 2) if place < 10 else 0.0 for place in (ahead + level, ahead)])
    low, high = np.mean(gains, axis=0)
    main = found[found["metric"] == "main_score"]["value"].item()
    assert low - 1e-9 <= main <= high + 1e-9 and high - low < 0.1
    assert found[found["metric"] == "ndcg_at_10"]["value"].item() == main
    assert set(found["adapter"]) == {"baseline"} and set(found["model"]) == {"words"}
    assert found["replicates"].notna().sum() == 1  # an interval over queries, as other rows have
    rest = scored(search, tmp_path, "random", {"kind": "random", "dim": 16, "seeds": 2})
    assert main > rest[rest["metric"] == "main_score"]["value"].item()


def test_queries_count_in_no_documents_statistics(search):
    table = pd.read_parquet(search.texts)
    rows = {text: row for row, text in enumerate(table["text"])}
    documents = table.loc[table["prompt_type"].str.contains("document"), "text"].tolist()
    assert len(documents) < len(rows)
    encoder = Bm25Encoder(rows, documents, "words")
    numbers = [np.array([[rows[text]]], dtype=np.float32) for text in (table["text"][0], documents[3])]
    wanted = Bm25(documents).likeness([table["text"][0]])[0, 3]
    assert encoder.similarity(*numbers).item() == pytest.approx(wanted, rel=1e-6)


def test_documents_without_a_word_are_level():
    assert not Bm25(["", "..."]).likeness(["a word", ""]).any()


def test_tasks_that_rank_nothing_are_left_out():
    own = {"source": "retrieval", **FILES}
    config = demo(**{"baselines.words": {"kind": "bm25"}, "tasks.MySearch": own, "tasks.SciFact": {"source": "mteb"}})
    study = Study(resolve(config, files=False))
    assert study.baseline_tasks("words") == ["MySearch", "SciFact"]
    assert study.baseline_tasks("random") == sorted(config["tasks"])
