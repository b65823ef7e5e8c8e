"""The task stage: a task's labelled texts, and the unique texts that MTEB really asks for."""

import time
from collections.abc import Mapping

import pandas as pd

from .artifacts import atomic_path, text_digest, write_sidecar
from .hub import commits
from .labelling import label_docstrings
from .tables import read_labelled


def build_task(name: str, spec: Mapping, corpus: str | None, labelled_out: str, texts_out: str) -> None:
    """Writes `labelled.parquet` (text, label; empty for a hub task) and `texts.parquet` (text), with sidecars.

    The texts are recorded from MTEB itself: the task runs once with an encoder that writes down what it
    is asked for.
    """
    from .mteb_tasks import RecordingEncoder, evaluate, fresh_task

    started = time.time()
    where = f"tasks.{name}"
    labelled = None
    if spec["source"] == "docstrings":
        labelled = label_docstrings(pd.read_parquet(corpus), spec, where)
    elif spec["source"] == "file":
        labelled = read_labelled(spec["path"], spec["text"], spec["label"], where)
    recorder = RecordingEncoder()
    evaluate(recorder, fresh_task(name, spec, labelled))
    inputs = [path for path in (corpus, spec.get("path")) if path]
    table = labelled if labelled is not None else pd.DataFrame({"text": [], "label": []}, dtype=str)
    facts = {"labels": int(table["label"].nunique()), "texts": len(recorder.texts)}
    for out, content in ((labelled_out, table), (texts_out, pd.DataFrame({"text": list(recorder.texts)}))):
        with atomic_path(out) as temporary:
            content.to_parquet(temporary, index=False)
        write_sidecar(out, inputs=inputs, spec=spec, started=started, hub=commits(spec), **facts)


def sample_texts(texts: str, count: int, seed: int) -> list[str]:
    """At most `count` of a task's texts, drawn by seeded digest: the same ones whatever the others are."""
    known = pd.read_parquet(texts)["text"].tolist()
    return sorted(known, key=lambda text: text_digest(f"{seed}:{text}"))[:count]
