"""Checks of post-processings, aggregations and the texts that they are fitted on."""

from collections.abc import Iterator, Mapping

from ..errors import choices
from ..variants import POOLING_KEYS, POST_PROCESSING, RAW, TASK, WHOLE_LAYER, short_vector
from .references import references
from .widths import width_faults

FORMS = ("none", "center", "zscore", "soft-whiten(0.5)", "remove-top(1)", "cut(64)", "int8", "binary", "cut(64)+int8")


def post_processing_fault(key: str, name: str) -> Iterator[str]:
    """The fault of a post-processing's name, if it has one."""
    if POST_PROCESSING.fullmatch(name) is None and short_vector(name) is None:
        listed = choices(name, FORMS)
        numbers = "a power up to 1, a count of axes, and a count of dimensions"
        yield f"{key}: unknown post-processing {name!r}; {listed}; the numbers are {numbers}"


def _short_vectors(config: Mapping) -> Iterator[str]:
    """The faults of vectors that are cut: each model and pooling of the grid must have more dimensions."""
    grid, key = config["grid"], "grid.post_processing"
    for name in grid["post_processing"]:
        dims, _ = short_vector(name) or (None, None)
        for model in grid["models"] if dims else ():
            for pooling in grid["poolings"]:
                yield from width_faults(key, [dims], model, pooling, config)


def aggregations(config: Mapping) -> Iterator[str]:
    grid = config["grid"]
    for name in grid["post_processing"]:
        yield from post_processing_fault("grid.post_processing", name)
    yield from _short_vectors(config)
    for name, spec in config["aggregations"].items():
        key = f"aggregations.{name}"
        if name in POOLING_KEYS:
            yield f"{key}: {name!r} is the name of a pooling; choose another"
        for part in spec["parts"]:
            yield from post_processing_fault(f"{key}.parts", part["post_processing"])
            yield from _form_fault(f"{key}.parts", part)
            if short_vector(part["post_processing"]):
                short = part["post_processing"]
                yield f"{key}.parts: {short!r} is for a pooling alone, not for a part; name it in grid.post_processing"
            for what, known in (("pooling", grid["poolings"]), ("layer", grid["layers"])):
                if "lexical" not in part and part[what] not in known:
                    listed = choices(part[what], known)
                    yield f"{key}.parts: {what} {part[what]!r} is not in the grid; {listed}, or add it to grid.{what}s"
    yield from _fitting(config)


def _form_fault(key: str, part: Mapping) -> Iterator[str]:
    """A part pools a layer, or counts words."""
    lexical = "lexical" in part
    if lexical == ("pooling" in part):
        yield f"{key}: a part has {'both' if lexical else 'neither'} pooling and lexical; give one of them"
    if lexical and "dim" not in part:
        yield f"{key}: the lexical part has no dim; give its dimensions, such as 64"
    if lexical and part["layer"] != WHOLE_LAYER:
        yield f"{key}: a lexical part counts words and has no layer; remove layer"
    if not lexical and "dim" in part:
        yield f"{key}: dim is for a lexical part; remove it, or add lexical: tfidf-svd"


def _fitting(config: Mapping) -> Iterator[str]:
    corpora = config["fitting"]["corpora"]
    yield from references("fitting.corpora", "corpus", corpora or (), config, "corpora")
    asked = set(config["grid"]["post_processing"]) - {RAW} or config["aggregations"]
    if asked and corpora is None and all(spec["split"] == TASK for spec in config["pairs"].values()):
        known = choices("", config["corpora"])
        yield f"fitting.corpora: missing; without pairs there are no texts to fit on; {known or 'add a corpus'}"
