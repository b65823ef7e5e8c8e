"""The pairs stage, second half: selects the written pairs to keep, and records the rest with reasons."""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import write_json, write_table
from ..errors import PromptpoolError
from ..text.near_duplicates import near_duplicates
from ..variants import TASK, TRAIN
from .contamination import Hit, contaminated
from .filters import first_uses
from .qc import quality

PAIR = ["text", "positive", "style", "source_id"]
LOST_SHOWN = 20  # pairs whose text was not found, in qc.json

Ranks = Callable[[Sequence[str], Sequence[str]], np.ndarray]


def select_pairs(
    written: str,
    tasks: Mapping[str, str],
    pairs: str,
    rejected: str,
    qc: str,
    *,
    name: str,
    spec: Mapping,
    ranks: Ranks | None = None,
) -> None:
    """Writes pairs.parquet (PAIR), rejected.parquet (PAIR, `reason`, `attempts`, `cut`) and qc.json.

    written: what `make_pairs` wrote; tasks: name -> its texts.parquet; spec: `Study.selection_spec`. A fit pair is
    dropped if its text or positive is (nearly) a task's text (`contaminated`), or if its positive was already given to
    another text (`duplicate`, `near-duplicate`). Of a style in `spec["queries"]` it is the query that may not repeat,
    and its text must be found by it (`round-trip`) if ranks are given: (queries, their texts) -> int [n], see
    `round_trip_ranks`.
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
    queries = spec.get("queries", ())
    drop_repeated(table, spec["near_duplicate"], queries)
    found = drop_lost(table, queries, spec["round_trip"], ranks) if ranks else None
    good = table[table["reason"].isna()]
    if good.empty:
        worst = " or was not found by its query" if found and found["lost"] else ""
        raise PromptpoolError(f"pairs.{name}: every pair was a duplicate or a task's text{worst}; name another corpus")
    bad = table[table["reason"].notna()]
    inputs = [written, *tasks.values()]
    for path, part, columns in ((pairs, good, PAIR), (rejected, bad, [*PAIR, "reason", "attempts", "cut"])):
        write_table(path, part[columns], inputs=inputs, spec=spec, started=started)
    held = {"held_out": True} if spec.get("split") == TASK else {}
    write_json(qc, quality(table, hits, queries) | held | ({"round_trip": found} if found else {}))


def ranks_by(spec: Mapping, corpus: str, where: str, finder: Mapping | None, device: str) -> Ranks:
    """The `ranks` of select_pairs. spec: `Study.selection_spec`; finder: an embedder, None for words."""
    # Looked up by name, not imported by a statement: a set without the filter then has none of its code in its digest.
    encode = None
    if finder:
        load = import_module(f"{__package__}.semantic").load_encoder
        asked = {**finder, "prompt": finder["query_prompt"] or finder["prompt"]}
        encode = tuple(lambda texts, by=by: load(by, device)(texts) for by in (asked, finder))
    rows = pd.read_parquet(corpus)
    texts = rows.loc[rows["split"] == spec.get("split", TRAIN), spec["column"]]
    texts = texts[texts.str.strip() != ""].tolist()
    search = import_module(f"{__package__}.round_trip").round_trip_ranks
    return lambda queries, own: search(queries, own, texts, spec["round_trip"], f"{where}.filters.round_trip", encode)


def drop_lost(table: pd.DataFrame, queries: Sequence[str], spec: Mapping, ranks: Ranks) -> dict:
    """Sets `round-trip` as the reason of fit pairs whose text their query does not find, in place.

    Returns what was found: `among`, `within`, `asked` (pairs), `first` (of these, whose text is the best), `lost`, and
    samples of the lost.
    """
    fit = table.index[table["reason"].isna() & table["style"].isin(list(queries))]
    place = ranks(table.loc[fit, "text"].tolist(), table.loc[fit, "positive"].tolist())
    lost = fit[place > spec["within"]]
    table.loc[lost, "reason"] = "round-trip"
    drawn = table.loc[lost].assign(rank=place[place > spec["within"]])
    drawn = drawn.sample(min(LOST_SHOWN, len(drawn)), random_state=0).sort_index()
    return {
        "among": spec["among"],
        "within": spec["within"],
        "asked": len(fit),
        "first": int((place == 1).sum()),
        "lost": len(lost),
        "samples": drawn[["text", "positive", "rank"]].to_dict("records"),
    }


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


def drop_repeated(table: pd.DataFrame, near: float | None, queries: Sequence[str] = ()) -> None:
    """Sets the reason of fit pairs whose positive was given, exactly or nearly, to an earlier text, in place.

    Of styles that write queries, what may not repeat is the query: a text that has several keeps them all.
    """
    fit = table.index[table["reason"].isna()]
    written = table["text"].where(table["style"].isin(list(queries)), table["positive"])
    fresh = pd.Series(first_uses(written[fit].tolist()), index=fit, dtype=bool)
    table.loc[fit[~fresh], "reason"] = "duplicate"
    if near is not None:
        fit = fit[fresh]
        earlier = near_duplicates(written[fit].tolist(), near)
        table.loc[[place for place, first in zip(fit, earlier, strict=True) if first is not None], "reason"] = (
            "near-duplicate"
        )
