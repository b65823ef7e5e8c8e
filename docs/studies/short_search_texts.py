"""Writes data/queries.jsonl, corpus.jsonl and qrels.tsv for docs/studies/short-vectors.yaml.

Docstrings of packages that the study does not train on: the first half (the query) looks for the rest (the document).
"""

from pathlib import Path

import pandas as pd
from promptpool.data.docstrings import read_docstrings
from promptpool.pairs.augmentation import halves

PACKAGES = ["transformers", "sqlalchemy", "jinja2", "datasets", "pydantic", "rich"]
QUERIES, DOCUMENTS = 500, 2_000


def main() -> None:
    table = read_docstrings(PACKAGES, labelled=[], task_share=0.0, workers=1).drop_duplicates("text")
    rows = [(row.id, *halves(row.summary, row.text)) for row in table.itertuples()]
    rows = [row for row in rows if len(row[1].split()) >= 4 and len(row[2].split()) >= 8]
    pairs = pd.DataFrame(rows, columns=["_id", "query", "text"]).drop_duplicates("query").drop_duplicates("text")
    pairs = pairs.sample(frac=1, random_state=0).head(DOCUMENTS)
    asked = pairs.head(QUERIES)
    Path("data").mkdir(exist_ok=True)
    lines = {"orient": "records", "lines": True}
    pairs[["_id", "text"]].to_json("data/corpus.jsonl", **lines)
    pd.DataFrame({"_id": "q-" + asked["_id"], "text": asked["query"]}).to_json("data/queries.jsonl", **lines)
    relevant = {"query-id": "q-" + asked["_id"], "corpus-id": asked["_id"], "score": 1}
    pd.DataFrame(relevant).to_csv("data/qrels.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main()
