"""The report's section on a pair set: its counts by style, how fast it was written, and pairs to read."""

from collections.abc import Mapping

import pandas as pd

PAIRS_SHOWN = 20  # pairs of each style
TEXT_CHARACTERS = 600  # the most characters of a text that are shown


def pair_section(name: str, table: pd.DataFrame, qc: Mapping) -> dict:
    """One pair set for the template.

    table: pairs.parquet (text, positive, style, source_id); qc: its qc.json, in which any key may be missing.
    Returns name, count, asked, share (of asked, None without it), speed (tokens a second, None if no language model
    wrote), written (tokens), cut (by max_new_tokens: (written, accepted), None if none was), seconds,
    rejected [(reason, count)], contamination (None, or exact, near and tasks), held_out (whether it is for a task and
    not for training), round_trip (None, or among, within, asked, first, lost and samples) and styles. Each style has
    its name, asked, accepted, share, rejected, distinct [3 shares or None] and a sample of pairs, always the same.
    """
    parts = qc.get("styles") or {}
    styles = [*parts, *(style for style in sorted(map(str, table["style"].unique())) if style not in parts)]
    by_style = dict(list(table.groupby(table["style"].astype(str))))
    count = qc.get("accepted", len(table))
    return {
        "name": name,
        "count": count,
        "asked": qc.get("asked"),
        "share": share(count, qc.get("asked")),
        "speed": qc.get("tokens_per_second"),
        "written": (qc.get("tokens") or {}).get("written"),
        "cut": cut_counts(qc),
        "seconds": qc.get("seconds"),
        "rejected": reasons(qc),
        "contamination": contamination(qc),
        "held_out": bool(qc.get("held_out")),
        "round_trip": round_trip(qc),
        "styles": [style_row(style, parts.get(style) or {}, by_style.get(style, table.iloc[:0])) for style in styles],
    }


def style_row(style: str, part: Mapping, table: pd.DataFrame) -> dict:
    accepted = part.get("accepted", len(table))
    return {
        "name": style,
        "asked": part.get("asked"),
        "accepted": accepted,
        "share": share(accepted, part.get("asked")),
        "rejected": reasons(part),
        "distinct": [part.get(f"distinct_{n}") for n in (1, 2, 3)],
        "sample": sample(table),
    }


def sample(table: pd.DataFrame) -> list[dict]:
    """Pairs drawn with a fixed seed, in the table's order, long texts cut."""
    drawn = table.sample(min(PAIRS_SHOWN, len(table)), random_state=0).sort_index()
    return [{key: cut(row[key]) for key in ("text", "positive")} for row in drawn.to_dict("records")]


def share(accepted: int, asked: int | None) -> float | None:
    return accepted / asked if asked else None


def reasons(part: Mapping) -> list[tuple[str, int]]:
    """Reasons of rejection and their counts, most frequent first."""
    return sorted((part.get("rejected") or {}).items(), key=lambda item: (-item[1], item[0]))


def cut_counts(qc: Mapping) -> tuple[int, int] | None:
    """(positives that max_new_tokens cut, those of them that are kept); None if there are none."""
    found = qc.get("cut") or {}
    return (found["written"], found["accepted"]) if found.get("written") else None


def contamination(qc: Mapping) -> dict | None:
    """Anchors and positives that tasks contain too and that were removed; None if this was not checked."""
    found = qc.get("contamination")
    if found is None:
        return None
    tasks = sorted((found.get("tasks") or {}).items())
    return {"exact": found.get("exact", 0), "near": found.get("near", 0), "tasks": tasks}


def round_trip(qc: Mapping) -> dict | None:
    """What the round-trip filter found, its samples cut; None if it was not asked for."""
    found = qc.get("round_trip")
    if not found:
        return None
    samples = [{**one, "text": cut(one["text"]), "positive": cut(one["positive"])} for one in found["samples"]]
    return {**found, "samples": samples}


def cut(text: object) -> str:
    text = str(text)
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 1] + "…"
