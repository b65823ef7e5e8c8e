"""A retrieval task from docstrings: the summary line looks for the rest of its own docstring."""

from collections.abc import Mapping

import pandas as pd

from ..artifacts.files import text_digest
from ..errors import PromptpoolError
from ..text.normalisation import normalise
from .retrieval_files import FILES_OF_TASK, RETRIEVAL_COLUMNS


def search_docstrings(corpus: pd.DataFrame, spec: Mapping, where: str) -> pd.DataFrame:
    """RETRIEVAL_COLUMNS, as `read_retrieval` gives them: each summary line has one relevant document, its docstring
    without that line.

    corpus: of source docstrings, whose `task` rows alone are read. spec: a task of `source: docstring-search`. Rows
    without a body, and those that repeat a summary or a body (but for case, spacing and punctuation), are left out. Of
    the rest, the first by digest are the documents, and the first of these are the queries, so larger numbers add rows
    and change none. Raises PromptpoolError if fewer than two are left.
    """
    rows = corpus[(corpus["split"] == "task") & corpus["package"].isin(spec["packages"])]
    bodies = [text.partition("\n\n")[2].strip() for text in rows["text"]]
    rows = rows.assign(body=bodies, digest=rows["id"].map(text_digest)).sort_values("digest", kind="stable")
    for column in ("summary", "body"):
        same = rows[column].map(normalise)
        rows = rows[(same != "") & ~same.duplicated()]
    rows = rows.head(spec["most_documents"])
    if len(rows) < 2:
        raise PromptpoolError(
            f"{where}: {len(rows)} docstrings of {', '.join(spec['packages'])} have a summary and a body; add packages"
        )
    asked = rows.head(spec["most_queries"])
    parts = (
        pd.DataFrame({"id": asked["id"], "text": asked["summary"]}),
        pd.DataFrame({"id": rows["id"], "text": rows["body"]}),
        pd.DataFrame({"id": asked["id"], "other": asked["id"], "score": 1}),
    )
    named = [part.assign(part=name) for name, part in zip(FILES_OF_TASK, parts, strict=True)]
    table = pd.concat(named, ignore_index=True)
    return table.reindex(columns=RETRIEVAL_COLUMNS).astype({"score": "Int64"})
