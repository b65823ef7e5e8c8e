"""The guard between training and evaluation: no text may stand on both sides."""

import time
from collections.abc import Sequence

import pandas as pd

from .artifacts import write_json, write_sidecar
from .errors import PromptpoolError
from .normalisation import normalise


def overlapping(pairs: pd.DataFrame, task_texts: Sequence[str]) -> list[str]:
    """The pairs' texts and positives that are also a task's text, case, spacing and punctuation folded away."""
    known = {normalise(text) for text in task_texts}
    return [text for column in ("text", "positive") for text in pairs[column] if normalise(text) in known]


def check_overlap(pairs: str, tasks: Sequence[str], out: str) -> None:
    """Writes {"pairs": n, "task_texts": n, "overlap": 0}. Raises PromptpoolError naming the first shared text."""
    started = time.time()
    table = pd.read_parquet(pairs)
    texts = [text for path in tasks for text in pd.read_parquet(path)["text"]]
    shared = overlapping(table, texts)
    if shared:
        raise PromptpoolError(
            f"{pairs}: {len(shared)} training texts are also task texts, the first {shared[0][:80]!r}; "
            "take them out of the corpus or of the task"
        )
    write_json(out, {"pairs": len(table), "task_texts": len(set(texts)), "overlap": 0})
    write_sidecar(out, inputs=[pairs, *tasks], started=started)
