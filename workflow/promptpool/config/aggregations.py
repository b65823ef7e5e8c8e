"""Checks of post-processings, aggregations and the texts that they are fitted on."""

from collections.abc import Iterator, Mapping

from ..errors import choices
from ..variants import POOLING_KEYS, POST_PROCESSING, RAW
from .references import references

FORMS = ("none", "center", "zscore", "soft-whiten(0.5)", "remove-top(1)")


def post_processing_fault(key: str, name: str) -> Iterator[str]:
    """The fault of a post-processing's name, if it has one."""
    if POST_PROCESSING.fullmatch(name) is None:
        listed = choices(name, FORMS)
        yield f"{key}: unknown post-processing {name!r}; {listed}; the numbers are a power up to 1 and a count of axes"


def aggregations(config: Mapping) -> Iterator[str]:
    grid = config["grid"]
    for name in grid["post_processing"]:
        yield from post_processing_fault("grid.post_processing", name)
    for name, spec in config["aggregations"].items():
        key = f"aggregations.{name}"
        if name in POOLING_KEYS:
            yield f"{key}: {name!r} is the name of a pooling; choose another"
        for part in spec["parts"]:
            yield from post_processing_fault(f"{key}.parts", part["post_processing"])
            for what, known in (("pooling", grid["poolings"]), ("layer", grid["layers"])):
                if part[what] not in known:
                    listed = choices(part[what], known)
                    yield f"{key}.parts: {what} {part[what]!r} is not in the grid; {listed}, or add it to grid.{what}s"
    yield from _fitting(config)


def _fitting(config: Mapping) -> Iterator[str]:
    corpora = config["fitting"]["corpora"]
    yield from references("fitting.corpora", "corpus", corpora or (), config, "corpora")
    asked = set(config["grid"]["post_processing"]) - {RAW} or config["aggregations"]
    if asked and corpora is None and not config["pairs"]:
        known = choices("", config["corpora"])
        yield f"fitting.corpora: missing; without pairs there are no texts to fit on; {known or 'add a corpus'}"
