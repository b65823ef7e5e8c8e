"""The pairs stage, second half: selects the written pairs to keep, and records the rest with reasons."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..artifacts.files import write_json, write_table
from ..errors import PromptpoolError
from ..text.near_duplicates import near_duplicates
from .contamination import Hit, contaminated
from .filters import first_uses
from .qc import quality

PAIR = ["text", "positive", "style", "source_id"]


def select_pairs(
    written: str, tasks: Mapping[str, str], pairs: str, rejected: str, qc: str, *, name: str, spec: Mapping
) -> None:
    """Writes pairs.parquet (PAIR), rejected.parquet (PAIR, `reason`, `attempts`, `cut`) and qc.json.

    written: what `make_pairs` wrote; tasks: name -> its texts.parquet; spec: `Study.selection_spec`. A fit pair is
    dropped if its text or positive is (nearly) a task's text (`contaminated`), or if its positive was already given to
    another text (`duplicate`, `near-duplicate`).
    Raises PromptpoolError for contamination if the study says so, and if no pair is left.
    """
    started = time.time()
    table = pd.read_parquet(written)
    hits = find_contamination(table, tasks, spec["contamination"]["near"])
    if hits and spec["contamination"]["action"] == "fail":
        place, (task, hit) = next(iter(hits.items()))
        raise PromptpoolError(
            f"pairs.{name}: {len(hits)} pairs hold a task's text, the first {table.at[place, 'text'][:80]!r} "
            f"({hit.kind}, task {task}); remove it from the corpus, or set pairs.{name}.contamination.action to remove"
        )
    table.loc[list(hits), "reason"] = "contaminated"
    drop_repeated(table, spec["near_duplicate"])
    good = table[table["reason"].isna()]
    if good.empty:
        raise PromptpoolError(f"pairs.{name}: every pair was a duplicate or a task's text; name another corpus")
    bad = table[table["reason"].notna()]
    inputs = [written, *tasks.values()]
    for path, part, columns in ((pairs, good, PAIR), (rejected, bad, [*PAIR, "reason", "attempts", "cut"])):
        write_table(path, part[columns], inputs=inputs, spec=spec, started=started)
    write_json(qc, quality(table, hits))


def find_contamination(
    table: pd.DataFrame,
    tasks: Mapping[str, str | Path],
    near: float | None,
    columns: Sequence[str] = ("text", "positive"),
) -> dict[int, tuple[str, Hit]]:
    """Row -> (task, how) of the fit rows of which one of the columns is, or nearly is, a task's text."""
    known: list[str] = []
    owners: list[str] = []
    for task, path in tasks.items():
        texts = pd.read_parquet(path, columns=["text"])["text"].tolist()
        known += texts
        owners += [task] * len(texts)
    fit = table.index[table["reason"].isna()]
    texts = [text for column in columns for text in table.loc[fit, column]]
    found: dict[int, tuple[str, Hit]] = {}
    for place, hit in zip([*fit] * len(columns), contaminated(texts, known, near), strict=True):
        if hit:
            found.setdefault(place, (owners[hit.which], hit))
    return found


def drop_repeated(table: pd.DataFrame, near: float | None) -> None:
    """Sets the reason of fit pairs whose positive was given, exactly or nearly, to an earlier text, in place."""
    fit = table.index[table["reason"].isna()]
    fresh = pd.Series(first_uses(table.loc[fit, "positive"].tolist()), index=fit, dtype=bool)
    table.loc[fit[~fresh], "reason"] = "duplicate"
    if near is not None:
        fit = fit[fresh]
        earlier = near_duplicates(table.loc[fit, "positive"].tolist(), near)
        table.loc[[place for place, first in zip(fit, earlier, strict=True) if first is not None], "reason"] = (
            "near-duplicate"
        )
