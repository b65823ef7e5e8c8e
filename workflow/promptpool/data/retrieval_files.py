"""A retrieval task from three files of your own: queries, documents, and which documents are relevant for a query.

BEIR's layout (arXiv 2104.08663) is read as it lies: `queries.jsonl` and `corpus.jsonl` with `_id` and `text`, and a
tab-separated `qrels` with `query-id`, `corpus-id` and `score`.
"""

from collections.abc import Mapping

import pandas as pd

from ..errors import PromptpoolError
from .tables import Counts, Tell, read_table

FILES_OF_TASK = ("query", "document", "relevant")  # the values of the column `part`
RETRIEVAL_COLUMNS = ["part", "id", "other", "text", "score"]
QREL_COLUMNS = ["query-id", "corpus-id", "score"]


def read_retrieval(
    spec: Mapping, where: str, tell: Tell = lambda line: None, counts: Counts | None = None
) -> pd.DataFrame:
    """The three files as one table of RETRIEVAL_COLUMNS, with what each row is in `part`.

    query, document: `id` and `text`, both str. relevant: `id` of the query, `other` of the document, `score`, an int
    above 0. spec: `queries`, `documents` and `qrels` (paths), `id` and `text` (columns of the first two), `title` (a
    column of the documents that is put before their text, or None).

    Raises PromptpoolError for an id that two texts have, a text that is blank, a relevance that is no whole number or
    names an unknown query or document, and if no query has a relevant document. Queries without one are left out, and
    `tell` gets a line that counts them. `counts` gets `queries`, `documents`, `relevant` and what was left out.
    """
    queries = _texts(spec, "queries", where)
    documents = _texts(spec, "documents", where)
    relevant = _relevance(spec, where, set(queries["id"]), set(documents["id"]))
    asked = queries["id"].isin(set(relevant["id"]))
    if not asked.any():
        raise PromptpoolError(f"{where}.qrels: {spec['qrels']}: no query has a relevant document; give scores above 0")
    if not asked.all():
        example = queries.loc[~asked, "id"].iloc[0]
        tell(
            f"{where}: {spec['queries']}: {(~asked).sum()} of {len(queries)} queries have no relevant document, such "
            f"as {example!r}, and are left out"
        )
    if counts is not None:
        counts |= {"queries": int(asked.sum()), "documents": len(documents), "relevant": len(relevant)}
        counts["queries_without_relevant"] = int((~asked).sum())
    parts = zip(FILES_OF_TASK, (queries[asked], documents, relevant), strict=True)
    table = pd.concat([rows.assign(part=part) for part, rows in parts], ignore_index=True)
    return table.reindex(columns=RETRIEVAL_COLUMNS).astype({"score": "Int64"})


def _texts(spec: Mapping, key: str, where: str) -> pd.DataFrame:
    place = f"{where}.{key}: {spec[key]}"
    names = {spec["id"]: "id", spec["text"]: "text"}
    if key == "documents" and spec["title"]:
        names[spec["title"]] = "title"
    if len(names) < 2 + bool(key == "documents" and spec["title"]):
        raise PromptpoolError(f"{place}: id, text and title must be different columns; name them")
    table = read_table(spec[key], list(names), f"{where}.{key}").rename(columns=names)
    if "title" in table:
        titles = table.pop("title").fillna("")
        table["text"] = (titles + " " + table["text"].fillna("")).str.strip()
    blank = table.isna() | table.map(lambda cell: isinstance(cell, str) and not cell.strip())
    if blank["id"].any():
        raise PromptpoolError(f"{place}: row {int(blank['id'].argmax()) + 1} has no {spec['id']}; give every text one")
    table = table.astype({"id": str})
    if blank["text"].any():
        raise PromptpoolError(f"{place}: {table.loc[blank['text'], 'id'].iloc[0]!r} has no text; fill it or remove it")
    twice = table["id"].duplicated()
    if twice.any():
        raise PromptpoolError(
            f"{place}: two texts have the {spec['id']} {table.loc[twice, 'id'].iloc[0]!r}; rename one"
        )
    return table.astype({"text": str}).reset_index(drop=True)


def _relevance(spec: Mapping, where: str, queries: set[str], documents: set[str]) -> pd.DataFrame:
    place = f"{where}.qrels: {spec['qrels']}"
    table = read_table(spec["qrels"], QREL_COLUMNS, f"{where}.qrels")
    table.columns = ["id", "other", "score"]
    gap = table.isna().any(axis=1)
    if gap.any():
        raise PromptpoolError(f"{place}: row {int(gap.argmax()) + 1} lacks a value; fill it or remove it")
    table = table.astype(str)
    for column, known, file in (("id", queries, "queries"), ("other", documents, "documents")):
        lost = ~table[column].isin(known)
        if lost.any():
            kind = "query" if file == "queries" else "document"
            raise PromptpoolError(
                f"{place}: {table.loc[lost, column].iloc[0]!r} is no {kind} of {spec[file]} ({lost.sum()} of "
                f"{len(table)} rows); add it there or remove the row"
            )
    scores = pd.to_numeric(table["score"], errors="coerce")
    odd = scores.isna() | (scores != scores.round())
    if odd.any():
        raise PromptpoolError(
            f"{place}: the score {table.loc[odd, 'score'].iloc[0]!r} is no whole number; write 0 or 1"
        )
    table["score"] = scores.astype(int)
    twice = table.duplicated(["id", "other"])
    if twice.any():
        pair = table.loc[twice, ["id", "other"]].iloc[0].tolist()
        raise PromptpoolError(f"{place}: two rows for query {pair[0]!r} and document {pair[1]!r}; keep one")
    return table[table["score"] > 0].reset_index(drop=True)
