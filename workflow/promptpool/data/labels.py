"""Labelled tasks: docstrings of the built-in corpus by topic, and facts to report about any labels."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..artifacts.files import text_digest
from ..errors import PromptpoolError
from .topics import read_topics


def label_docstrings(corpus: pd.DataFrame, spec: Mapping, where: str) -> pd.DataFrame:
    """Columns `text`, `label`, `id`: a seeded, balanced sample of the corpus's `task` rows.

    spec: a task of `source: docstrings`. A label with fewer than `min_per_label` texts is left out. Of the others at
    most `per_label` are drawn: first rows with more prose than their summary, then by digest. So tasks over
    `summary` and `paragraphs` share their documents, as MTEB's S2S and P2P pairs do.
    """
    rows = corpus[(corpus["split"] == "task") & corpus["package"].isin(spec["packages"])].copy()
    if spec["labels"]:
        topics = topics_of_modules(spec["labels"], where)
        rows["label"] = rows["label"].map(topics)
    rows = rows.dropna(subset="label")
    rows["brief"] = rows["paragraphs"] == rows["summary"]
    rows["digest"] = rows["id"].map(text_digest)
    rows = rows.sort_values(["label", "brief", "digest"]).drop_duplicates("summary")
    rows = rows[rows.groupby("label")["id"].transform("size") >= spec["min_per_label"]]
    rows = rows.groupby("label").head(spec["per_label"])
    if rows["label"].nunique() < 2:
        raise PromptpoolError(
            f"{where}: fewer than two labels have {spec['min_per_label']} texts; lower min_per_label or add packages"
        )
    rows = rows.sort_values("digest")
    return pd.DataFrame({"text": rows[spec["column"]], "label": rows["label"], "id": rows["id"]}).reset_index(drop=True)


def label_faults(labelled: pd.DataFrame) -> dict:
    """Faults of a table of `text` and `label` that its owner should know: `repeated` (rows that repeat an earlier
    text), `contradictory` (texts with two labels or more) and an `example` of one. Contains only what is not 0.
    """
    repeated = int(labelled["text"].duplicated().sum())
    if not repeated:
        return {}
    kinds = labelled.drop_duplicates(["text", "label"]).groupby("text")["label"].agg(list)
    several = kinds[kinds.map(len) > 1]
    if several.empty:
        return {"repeated": repeated}
    text, labels = next(iter(several.items()))
    shown = " and ".join(map(repr, labels[:2]))
    return {"repeated": repeated, "contradictory": len(several), "example": f"{text[:60]!r} under {shown}"}


def topics_of_modules(path: str | Path, where: str) -> dict[str, str]:
    """Module -> topic, from a yaml of topic -> modules. Raises PromptpoolError if a module is listed twice."""
    if not Path(path).is_file():
        raise PromptpoolError(f"{where}: labels: {path}: no such file; fix the path")
    topics: dict[str, str] = {}
    for topic, modules in read_topics(path).items():
        for module in modules:
            if module in topics:
                raise PromptpoolError(f"{where}: {path}: {module} is listed under two topics; keep one")
            topics[module] = topic
    return topics
