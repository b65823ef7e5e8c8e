"""Checks of synthetic queries: the sets of pairs that hold them, their round-trip filter, and tasks made from them."""

from collections.abc import Iterator, Mapping

from ..analysis.synthetic import SYNTHETIC, as_synthetic, is_synthetic
from ..pairs.styles import FIXED_STYLES, TEXT_STYLES, query_styles
from ..tasks.catalogue import SYNTHETIC_SEARCH
from ..templates import SLOT
from ..variants import TASK
from .references import references


def several_faults(key: str, spec: Mapping) -> Iterator[str]:
    """The faults of `per_text` of a set of pairs: a style that would write the same again."""
    styles, asked = spec["styles"], spec["per_text"]
    if asked > 1 and "dataset" in styles:
        yield f"{key}.per_text: dataset gives a text all its positives already; remove per_text, or dataset"
    if asked <= len(styles):
        return
    fixed = [style for style in styles if style in FIXED_STYLES]
    if fixed:
        yield f"{key}.per_text: {fixed[0]} always writes the same; give at most {len(styles)}, the number of styles"
    if spec["temperature"] == 0 and not set(styles) <= set(TEXT_STYLES):
        yield f"{key}.per_text: temperature 0 always writes the same; raise it, or give at most {len(styles)}"


def query_faults(key: str, spec: Mapping, config: Mapping) -> Iterator[str]:
    """The faults of a set of pairs as a set of queries."""
    queries, trip = query_styles(spec["styles"], config["styles"]), spec["filters"]["round_trip"]
    known = ", ".join(query_styles([*config["styles"], "search-question", "search-phrase"], config["styles"]))
    if spec["split"] == TASK:
        corpus = config["corpora"][spec["corpus"]]
        others = [style for style in spec["styles"] if style not in queries]
        if others:
            yield f"{key}.styles: a set of split task holds queries, and {others[0]!r} writes none; name one of {known}"
        if not corpus["task_share"] or (corpus["source"] == "docstrings" and not corpus["labelled"]):
            where = f"corpora.{spec['corpus']}"
            needs = "labelled" if corpus["task_share"] else "task_share"
            yield f"{key}.split: no text of {spec['corpus']!r} is set aside for tasks; give {where}.{needs}"
    if not trip:
        return
    where = f"{key}.filters.round_trip"
    if not queries:
        yield f"{where}: no style of the set writes queries; name one of {known}, or remove the filter"
    if trip["within"] >= trip["among"]:
        yield f"{where}.within: {trip['within']} is not below among, {trip['among']}, so every text is found; lower it"
    for name in ("prompt", "query_prompt"):
        if trip[name] is not None and trip[name].count(SLOT) != 1:
            yield f"{where}.{name}: {trip[name]!r} needs exactly one {SLOT}; add it"


def held_out_faults(key: str, sets: list[str], config: Mapping) -> Iterator[str]:
    """The faults of an adapter's `pairs`: sets that only a task may use."""
    for name in sets:
        if config["pairs"][name]["split"] == TASK:
            yield f"{key}: {name!r} is held out for tasks (split: task); name a set of split train"


def synthetic_search_faults(config: Mapping) -> Iterator[str]:
    """The faults of tasks of `source: synthetic-search`."""
    for name, spec in config["tasks"].items():
        if spec["source"] != SYNTHETIC_SEARCH:
            continue
        key, pairs = f"tasks.{name}", spec["pairs"]
        yield from references(f"{key}.pairs", "pairs", [pairs], config, "pairs")
        if config["pairs"][pairs]["split"] != TASK:
            yield f"{key}.pairs: training may see the texts of {pairs!r}; set pairs.{pairs}.split to task"
        if not is_synthetic(name):
            yield f"{key}: its name must say that its queries are {SYNTHETIC}; rename it {as_synthetic(name)}"
