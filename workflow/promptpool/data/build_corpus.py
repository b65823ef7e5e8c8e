"""The corpus stage: texts to train on, from docstrings, a file or the hub, as one parquet."""

import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..artifacts.files import atomic_path, text_digest, write_sidecar
from ..hub.snapshots import commits
from .docstrings import corpus_versions, read_docstrings
from .splits import splits_of
from .tables import in_and_out, read_texts


def build_corpus(out: str, spec: Mapping, workers: int = 1) -> None:
    """Writes `corpora/{corpus}.parquet` (columns at least `id`, `text`, `split`) and its sidecar.

    spec: one entry of `corpora:` in the config. Raises PromptpoolError for a missing file or column.
    """
    started = time.time()
    facts: dict[str, object] = {}
    if spec["source"] == "docstrings":
        table = read_docstrings(
            spec["packages"], labelled=spec["labelled"], task_share=spec["task_share"], workers=workers
        )
        facts["versions"] = corpus_versions(spec["packages"])
    else:
        where, counts = f"corpora.{Path(out).stem}", {}
        rows = read_texts(spec, where, counts=counts)
        table = text_corpus(rows, spec.get("task_share"))
        facts = {**counts, "repeated": len(rows) - len(table)}
        print(f"{where}: {spec['path']}: {in_and_out(facts, len(table))}")
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    inputs = [spec["path"]] if spec["source"] == "file" and Path(spec["path"]).is_file() else []
    write_sidecar(out, inputs=inputs, spec=spec, started=started, rows=len(table), hub=commits(spec), **facts)


def text_corpus(rows: pd.DataFrame, task_share: float | None = None) -> pd.DataFrame:
    """A corpus of bare texts (and their positives, if given): unique, identified by digest, for training but for
    `task_share` of them.

    rows: `text`, and optionally `positive` and `negative_1`, ... A text with several of these is kept once with each.
    """
    rows = rows[rows["text"].str.strip() != ""].drop_duplicates(ignore_index=True)
    table = rows.assign(id=rows["text"].map(text_digest), split=splits_of(rows["text"], task_share))
    return table[["id", "text", "split", *(name for name in rows if name != "text")]]
