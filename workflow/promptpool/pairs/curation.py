"""The pairs stage, second half: what is kept of the written pairs, what is not and why, and what the set is like."""

import time
from collections.abc import Mapping

import pandas as pd

from ..artifacts.files import atomic_path, write_json, write_sidecar
from ..errors import PromptpoolError
from .qc import quality
from .selection import drop_repeated, find_contamination

PAIR = ["text", "positive", "style", "source_id"]


def select_pairs(
    written: str, tasks: Mapping[str, str], pairs: str, rejected: str, qc: str, *, name: str, spec: Mapping
) -> None:
    """Writes pairs.parquet (PAIR), rejected.parquet (PAIR, `reason`, `attempts`, `cut`) and qc.json.

    written: what `synthesis.make_pairs` wrote; tasks: name -> its texts.parquet; spec: `Study.selection_spec`.
    A fit pair is dropped where its text or positive is (nearly) a task's text (`contaminated`), and where its positive
    was already given to another text (`duplicate`, `near-duplicate`).
    Raises PromptpoolError for contamination if the study says so, and if no pair is left.
    """
    started = time.time()
    table = pd.read_parquet(written)
    hits = find_contamination(table, tasks, spec["contamination"]["near"])
    if hits and spec["contamination"]["action"] == "fail":
        place, (task, hit) = next(iter(hits.items()))
        raise PromptpoolError(
            f"pairs.{name}: {len(hits)} pairs hold a task's text, the first {table.at[place, 'text'][:80]!r} "
            f"({hit.kind}, task {task}); take it out of the corpus, or set pairs.{name}.contamination.action to remove"
        )
    table.loc[list(hits), "reason"] = "contaminated"
    drop_repeated(table, spec["near_duplicate"])
    good = table[table["reason"].isna()]
    if good.empty:
        raise PromptpoolError(f"pairs.{name}: every pair was a duplicate or a task's text; name another corpus")
    bad = table[table["reason"].notna()]
    inputs = [written, *tasks.values()]
    for path, part, columns in ((pairs, good, PAIR), (rejected, bad, [*PAIR, "reason", "attempts", "cut"])):
        with atomic_path(path) as temporary:
            part[columns].to_parquet(temporary, index=False)
        write_sidecar(path, inputs=inputs, spec=spec, started=started, rows=len(part))
    write_json(qc, quality(table, hits))
