"""Checks that what one part of a config names exists in another part, or on this machine."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import PromptpoolError, choices
from ..templates import Template
from ..variants import BASE, trained_layers
from .adapters import checkpoints


def absent(key: str, kind: str, value: object, known: Iterable[str], section: str) -> str:
    listed = choices(value, known)
    return f"{key}: no {kind} named {value!r} in {section}; {listed + ', or ' if listed else ''}add it there"


def references(key: str, kind: str, values: Iterable[str], config: Mapping, section: str) -> Iterator[str]:
    for value in values:
        if value not in config[section]:
            yield absent(key, kind, value, config[section], section)


def no_revision(key: str, spec: Mapping) -> Iterator[str]:
    if spec["revision"] is not None:
        revision, path = spec["revision"], spec["path"]
        yield f"{key}.revision: {revision!r} is for a hub model, and {path!r} is a directory; remove it"


def docstrings_only(key: str, corpus: str, what: str, config: Mapping) -> Iterator[str]:
    source = config["corpora"][corpus]["source"]
    if source != "docstrings":
        yield f"{key}: {what} needs a corpus of source docstrings, and {corpus!r} is of source {source}; name another"


def checkpoint_faults(key: str, reference: str, config: Mapping, model: str | None = None) -> Iterator[str]:
    """The faults of one `base` or `name@step`. It must tune `model` if that is given."""
    name, _, step = reference.partition("@")
    if reference == BASE:
        return
    if name not in config["adapters"]:
        yield absent(key, "adapter", name, [BASE, *config["adapters"]], "adapters")
    known = checkpoints(config, [name])
    if not step:
        yield f"{key}: {reference!r} names no checkpoint; {choices(reference, known)}"
    if reference not in known:
        yield f"{key}: adapter {name!r} keeps no checkpoint at step {step!r}; {choices(reference, known)}"
    tuned = config["adapters"][name]["model"]
    if model is not None and tuned != model:
        yield f"{key}: adapter {reference!r} tunes model {tuned!r}, not {model!r}; name another, or {BASE}"


def layers(key: str, name: str, path: str, layers: Iterable[int | float]) -> Iterator[str]:
    """The faults of layers that no model has, or that a local model lacks. Hub models are not checked."""
    for layer in layers:
        if isinstance(layer, float) and not 0 < layer < 1:
            yield f"{key}: {layer} is not a share of the depth; write a whole number, or a share between 0 and 1"
    depth = depth_of(path)
    for layer in layers:
        if depth is not None and not -depth - 1 <= layer <= depth:
            yield f"{key}: model {name!r} has no layer {layer}; give one from {-depth - 1} to {depth}"


def depth_of(path: str | Path) -> int | None:
    """The number of a model's layers, from its config.json; None where it is not on this machine or does not say."""
    try:
        told = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))
        depth = (told.get("text_config") or told).get("num_hidden_layers")
    except (OSError, ValueError, AttributeError):
        return None
    return depth if isinstance(depth, int) else None


def trained_layer_faults(key: str, name: str, path: str | Path, layer: int | float) -> Iterator[str]:
    """The faults of the layer that an adapter is trained at: it must be one of the model's, and no embeddings."""
    faults, depth = list(layers(key, name, str(path), [layer])), depth_of(path)
    yield from faults
    if faults or (depth is None and layer != 0):
        return
    try:
        trained_layers(layer, depth or 1)
    except PromptpoolError:
        of = "" if depth is None else f" of {depth} layers"
        yield f"{key}: {layer}{of} is the embeddings, where nothing is adapted; give 1 for the first layer, or -1"


def no_echo(key: str, prompt: str, what: str, config: Mapping) -> Iterator[str]:
    if Template.parse(prompt, config["prompts"][prompt]).middle is not None:
        yield f"{key}: {prompt!r} holds {{text}} twice, and {what} needs a prompt with one; name another"


def texts(value: object, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of a config with the keys that lead to it. Items of a list have the list's keys."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from texts(item, (*key, str(name)))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, key)
    elif isinstance(value, str):
        yield key, value
