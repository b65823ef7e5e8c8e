"""The files of a retrieval task from queries that a language model wrote for held-out texts, in BEIR's layout."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..artifacts.files import atomic_path, text_digest, write_sidecar
from ..errors import PromptpoolError
from ..text.normalisation import normalise
from ..variants import TASK

QREL_HEAD = "query-id\tcorpus-id\tscore"


def write_search(pairs: str, corpus: str, files: Mapping[str, str], *, name: str, spec: Mapping) -> None:
    """Writes `queries` and `documents` (jsonl: `_id`, `text`) and `qrels` (tsv) of a task, with sidecars.

    pairs: pairs.parquet of queries (`text`) and their held-out texts (`positive`); corpus: where these are from; files:
    part -> path; spec: `Study.search_spec`. The sidecars say that the queries are synthetic, and what wrote them.
    Raises PromptpoolError if a query's text is one that training may see, and if fewer than two documents are there.
    """
    started = time.time()
    table, rows = pd.read_parquet(pairs), pd.read_parquet(corpus)
    held = rows[rows["split"] == TASK]
    own = set(held[spec["column"]])
    seen = [text for text in table["positive"] if text not in own]
    if seen:
        raise PromptpoolError(
            f"tasks.{name}.pairs: {spec['pairs']} has queries for {len(seen)} texts that are not set aside for tasks, "
            f"the first {seen[0][:80]!r}; write the set again"
        )
    queries, documents, relevant = search_of(table, held[spec["column"]], spec)
    if not queries or len(documents) < 2:
        raise PromptpoolError(
            f"tasks.{name}: {len(queries)} queries and {len(documents)} documents are no search; raise task_share of "
            f"the corpus of pairs.{spec['pairs']}"
        )
    wanted = {
        "queries": [json.dumps({"_id": key, "text": text}, ensure_ascii=False) for key, text in queries],
        "documents": [json.dumps({"_id": key, "text": text}, ensure_ascii=False) for key, text in documents],
        "qrels": [QREL_HEAD, *(f"{query}\t{document}\t1" for query, document in relevant)],
    }
    counts = {"queries": len(queries), "documents": len(documents), "relevant": len(relevant)}
    print(f"tasks.{name}: synthetic queries; {', '.join(f'{key}: {count}' for key, count in counts.items())}")
    for part, lines in wanted.items():
        with atomic_path(files[part]) as temporary:
            Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_sidecar(files[part], inputs=[pairs, corpus], spec=dict(spec), started=started, synthetic=True, **counts)


def search_of(
    pairs: pd.DataFrame, held: Sequence[str], spec: Mapping
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
    """(queries, documents, relevant) as (id, text), (id, text) and (query's id, document's id).

    The first `most_queries` by digest are asked. Their texts come first among the documents, then other held-out texts
    by digest, up to `most_documents` in all. Texts that are the same but for case, spacing and punctuation are one
    document, so that no copy counts as a miss. A query that equals its text is left out.
    """
    rows = pairs.assign(key=pairs["positive"].map(normalise), asked=pairs["text"].map(normalise))
    rows = rows[rows["asked"] != rows["key"]]
    rows = rows.assign(digest=(rows["asked"] + "\0" + rows["key"]).map(text_digest)).sort_values("digest")
    rows = rows.head(spec["most_queries"])
    others = sorted((text for text in held if normalise(text)), key=text_digest)
    documents: dict[str, str] = {}
    for text in [*rows["positive"], *others]:
        documents.setdefault(normalise(text), text)
    most = max(spec["most_documents"], rows["key"].nunique())
    kept = [(f"d-{text_digest(key)[:16]}", text) for key, text in list(documents.items())[:most]]
    queries = [(f"q-{digest[:16]}", text) for digest, text in zip(rows["digest"], rows["text"], strict=True)]
    relevant = [
        (f"q-{digest[:16]}", f"d-{text_digest(key)[:16]}")
        for digest, key in zip(rows["digest"], rows["key"], strict=True)
    ]
    return queries, kept, relevant
