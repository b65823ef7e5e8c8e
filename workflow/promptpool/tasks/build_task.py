"""The task stage: a task's labelled texts, the unique texts that MTEB actually asks for, and its facts."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..artifacts.files import atomic_path, text_digest, write_json, write_sidecar
from ..data.docstring_search import search_docstrings
from ..data.labels import label_docstrings, label_faults
from ..data.retrieval_files import read_retrieval
from ..data.tables import in_and_out, read_labelled
from ..hub.snapshots import commits


def build_task(name: str, spec: Mapping, corpus: str | None, labelled_out: str, texts_out: str) -> None:
    """Writes `labelled.parquet`, `texts.parquet` (text, prompt_type) and, beside them, `facts.json` (see
    `mteb_tasks.facts_of`), with sidecars. The first holds text and label; RETRIEVAL_COLUMNS if the task's source is
    `retrieval` or `docstring-search`; nothing for a hub task.

    The texts are recorded from MTEB itself: the task runs once with an encoder that records what it is asked for,
    each text once. `prompt_type` holds the roles in which MTEB asks for a text (`document`, `query` or both), and is
    empty for tasks without roles.
    """
    from .encoders import RecordingEncoder
    from .mteb_tasks import TaskSource, evaluate, facts_of

    started = time.time()
    where = f"tasks.{name}"
    labelled, counts = None, {}
    if spec["source"] == "docstrings":
        labelled = label_docstrings(pd.read_parquet(corpus), spec, where)
    elif spec["source"] == "file":
        labelled = read_labelled(spec["path"], spec["text"], spec["label"], where, _warn, counts)
        print(f"{where}: {spec['path']}: {in_and_out(counts, len(labelled))}")
    elif spec["source"] == "retrieval":
        labelled = read_retrieval(spec, where, _warn, counts)
        print(f"{where}: {', '.join(f'{key}: {count}' for key, count in counts.items())}")
    elif spec["source"] == "docstring-search":
        labelled = search_docstrings(pd.read_parquet(corpus), spec, where)
        counts |= {f"{part}_rows": int(count) for part, count in labelled["part"].value_counts().items()}
    faults = label_faults(labelled) if labelled is not None and "label" in labelled else {}
    if faults.get("contradictory"):
        _warn(f"{where}: {faults['contradictory']} texts have two labels or more, such as {faults['example']}")
    recorder = RecordingEncoder()
    task = TaskSource(name, spec, labelled).fresh()
    evaluate(recorder, task)
    own = [spec.get(key) for key in ("path", "queries", "documents", "qrels")]
    inputs = [path for path in (corpus, *own) if path]
    table = labelled if labelled is not None else pd.DataFrame({"text": [], "label": []}, dtype=str)
    roles = ["+".join(sorted(kinds)) for kinds in recorder.texts.values()]
    texts = pd.DataFrame({"text": list(recorder.texts), "prompt_type": roles}, dtype=str)
    labels = int(table["label"].nunique()) if "label" in table else 0
    counts |= {"rows": len(table), "labels": labels, "texts": len(texts)}
    for out, content in ((labelled_out, table), (texts_out, texts)):
        with atomic_path(out) as temporary:
            content.to_parquet(temporary, index=False)
        write_sidecar(out, inputs=inputs, spec=spec, started=started, hub=commits(spec), **counts, **faults)
    facts_out = Path(texts_out).with_name("facts.json")
    write_json(facts_out, facts_of(task, recorder))
    write_sidecar(facts_out, inputs=inputs, spec=spec, started=started, hub=commits(spec))


def _warn(line: str) -> None:
    print(f"Warning: {line}", file=sys.stderr)


def sample_texts(texts: str, count: int, seed: int) -> list[str]:
    """At most `count` of a task's texts, drawn by seeded digest, so that the others do not influence the choice."""
    known = pd.read_parquet(texts, columns=["text"])["text"].tolist()
    return sorted(known, key=lambda text: text_digest(f"{seed}:{text}"))[:count]
