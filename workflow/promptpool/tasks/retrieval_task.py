"""An MTEB retrieval task over queries, documents and relevance of your own."""

from typing import Any

import pandas as pd
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

NDCG = "ndcg_at_10"
SEARCHES = ("retrieval", "docstring-search")  # the sources of tasks that are made here


def retrieval_task(name: str, table: pd.DataFrame, measure: str = NDCG) -> AbsTaskRetrieval:
    """A fresh task. table: RETRIEVAL_COLUMNS, as `read_retrieval` gives them; measure: its main score.

    MTEB also measures recall, MRR, MAP, precision and nDCG at 1, 3, 5, 10, 20, 100 and 1,000
    documents.
    """

    class LocalRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=name,
            description=f"{name}: retrieval over local files",
            dataset={"path": f"local/{name}", "revision": "local"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score=measure,
        )

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            relevant: dict[str, dict[str, int]] = {}
            rows = table[table["part"] == "relevant"]
            for query, document, score in zip(rows["id"], rows["other"], rows["score"], strict=True):
                relevant.setdefault(query, {})[document] = int(score)
            split = {
                "corpus": _texts(table, "document"),
                "queries": _texts(table, "query"),
                "relevant_docs": relevant,
                "top_ranked": None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return LocalRetrieval()


def _texts(table: pd.DataFrame, part: str) -> Dataset:
    rows = table[table["part"] == part]
    return Dataset.from_dict({"id": rows["id"].tolist(), "text": rows["text"].tolist()})
