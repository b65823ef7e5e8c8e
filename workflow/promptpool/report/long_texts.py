"""The report's section on long texts: how many were cut, and by how much, from the sidecars behind the page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..embedding.text_lengths import LENGTHS, MANY, is_much, percent
from ..variants import CUT_TEXTS, FITTING
from .provenance import read_sidecar, sidecars

VECTORS = ".safetensors"


def long_texts_section(paths: Sequence[str | Path]) -> dict | None:
    """What became of the texts behind some files. None if no sidecar counts any, as those of earlier versions.

    Returns `rows` (what, unit, at, texts, long, share, lost (of all tokens), median, largest, chunks; None without),
    of what has longer texts; `warnings`, where more than MANY of the texts are cut; `whole`: how many other sets of
    texts are read whole.
    """
    counted = dict(set_lengths(sidecars(paths)))
    found = {what: counted[what] for what in sorted(counted)}
    if not found:
        return None
    long = {what: facts for what, facts in found.items() if facts["long"]}
    return {
        "rows": [_row(what, facts) for what, facts in long.items()],
        "warnings": [_warning(what, facts) for what, facts in long.items() if is_much(facts)],
        "whole": len(found) - len(long),
        "many": percent(MANY),
    }


def _row(what: str, facts: Mapping) -> dict:
    cut = facts["how"] == CUT_TEXTS
    return {
        "what": what,
        **{key: facts[key] for key in ("unit", "at", "texts", "long", "how")},
        "share": percent(facts["long"] / facts["texts"]),
        "lost": percent(1 - facts["after"] / facts["before"]) if cut else "none",
        "median": percent(facts["median_lost"]) if cut else "none",
        "largest": percent(facts["largest_lost"]) if cut else "none",
        "chunks": facts.get("chunks"),
    }


def _warning(what: str, facts: Mapping) -> str:
    remedy = "raise grid.max_text_tokens, or write long_texts: mean"
    if what.startswith("adapter"):
        remedy = "raise the adapter's max_text_tokens"
    elif "baseline" in what:
        remedy = "see whether the baseline's limit can be raised"
    share = percent(facts["long"] / facts["texts"])
    return f"{what}: {share} of the texts are cut, and only their beginnings count; {remedy}."


def set_lengths(behind: Mapping[str, tuple[Mapping, str | None]]) -> Iterator[tuple[str, dict]]:
    """(what a set of texts is, how long they are), of the tasks, baselines, trainings and held-out pairs behind a page.

    A task's texts have the same lengths in all files of one model.
    """
    for path, (sidecar, _) in behind.items():
        own = sidecar.get(LENGTHS)
        if own is None and path.endswith(".json"):
            yield from _of_baseline(Path(path))
        elif isinstance(own, Mapping) and "how" not in own:  # a single file of vectors; its manifest counts it
            for name, facts in own.items():
                yield _named(Path(path), name), facts


def _of_baseline(manifest: Path) -> Iterator[tuple[str, dict]]:
    """A baseline's manifest does not count; its files do, {baseline}/{task}.safetensors."""
    if manifest.parent.name != "baselines" or manifest.parent.parent.name != "embeddings":
        return
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return
    for name in files:
        facts = read_sidecar(manifest.parent / name).get(LENGTHS)
        if facts:
            yield f"task {Path(name).stem}, baseline {manifest.stem}", facts


def _named(artifact: Path, name: str) -> str:
    """What a set of texts is: `artifact` is an adapter's directory, or a manifest of vectors."""
    if artifact.parent.name == "adapters":
        return f"adapter {artifact.name}: {name}"
    if artifact.parent.parent.name == "verdict":
        return f"the verdict's held-out pairs, {artifact.parent.name}"  # each seed of a training has its own
    model = artifact.parents[1].name
    return f"fitting texts, model {model}" if name == FITTING else f"task {name}, model {model}"
