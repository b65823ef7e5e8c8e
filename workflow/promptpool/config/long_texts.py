"""What a study does with its tasks' long texts: cut, or chunks that are combined; and the faults of that."""

from collections.abc import Iterator, Mapping

from ..tasks.catalogue import ranks_documents
from ..variants import CUT_TEXTS, MAX_SIM

LONG_TEXT_KEYS = ("long_texts", "chunk_overlap")


def long_texts_of(config: Mapping, task: str) -> dict:
    """`how` (cut, mean or max-sim) and `overlap` of one task: its own keys, or the grid's."""
    spec, grid = config["tasks"][task], config["grid"]
    how, overlap = (grid[key] if spec.get(key) is None else spec[key] for key in LONG_TEXT_KEYS)
    return {"how": how, "overlap": overlap}


def long_text_faults(config: Mapping) -> Iterator[str]:
    """The faults, as `dotted.key: what is wrong; what to do`."""
    most = config["grid"]["max_text_tokens"]
    if config["grid"]["chunk_overlap"] >= most:
        yield _too_much("grid", config["grid"]["chunk_overlap"], most)
    for name, spec in config["tasks"].items():
        key, how, own = f"tasks.{name}", long_texts_of(config, name)["how"], spec.get("chunk_overlap")
        if own is not None and own >= most:
            yield _too_much(key, own, most)
        if own and how == CUT_TEXTS:
            yield f"{key}.chunk_overlap: its long texts are cut, and no chunks overlap; write long_texts: mean, too"
        if how == MAX_SIM and not ranks_documents(name, spec):
            why = f"max-sim compares queries with chunks of documents, and {name} ranks no documents"
            if spec.get("long_texts"):
                yield f"{key}.long_texts: {why}; write mean"
            else:
                yield f"grid.long_texts: {why}; write mean, or {key}.long_texts: mean"


def _too_much(key: str, overlap: int, most: int) -> str:
    return (
        f"{key}.chunk_overlap: {overlap} is not below grid.max_text_tokens, {most}, the size of a chunk; give a "
        "smaller number"
    )
