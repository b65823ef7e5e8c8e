"""Adapter ids: `base`, or the `name@step` of a checkpoint that the config names. Also what defines an adapter.

An adapter with several `seeds` has several trainings. The first one has its name, so that more seeds train only what
is new; the others are called `name~seed`, and their checkpoints `name~seed@step`. A config names adapters, never these.
"""

from collections.abc import Iterable, Mapping

from ..errors import PromptpoolError
from ..variants import BASE, LAST_LAYER, seed_name, split_adapter_id, split_seed

NAMED = ("steps", "prompt", "pooling")  # what counts of an adapter that is not trained here, besides its origin
# As before there were these keys, so that nothing is trained again.
RECIPE_DEFAULTS = {"noise": "none", "positives": "own", "hard_negatives": None, "matryoshka": None, "layer": LAST_LAYER}
EXECUTION = ("micro_batch_size", "gradient_checkpointing", "attention", "gpus", "tracking")


def adapter_ids(config: Mapping, model: str | None = None) -> list[str]:
    """`base`, then every `name@step` that the grid selects, by name and step; only those of `model` if given."""
    adapters, selected = config["adapters"], config["grid"]["adapters"]
    pairs: set[tuple[str, int]] = set()
    for reference in adapters if selected == "all" else selected:
        name, _, step = reference.partition("@")
        if name != BASE:
            pairs |= {(name, int(step))} if step else {(name, step) for step in adapters[name]["steps"]}
    if model is not None:
        pairs = {(name, step) for name, step in pairs if adapters[name]["model"] == model}
    return [BASE, *(f"{name}@{step}" for name, step in sorted(pairs))]


def adapter_of(config: Mapping, adapter: str) -> tuple[str, int]:
    """(training, step) of an adapter id: `base` -> ("base", 0), `halves~7@80` -> ("halves~7", 80).

    Raises PromptpoolError for an id that is neither base nor a checkpoint of the config.
    """
    if adapter == BASE:
        return BASE, 0
    known = checkpoints(config, config["adapters"])
    if adapter not in known and not any(adapter in seeded(config, one) for one in known):
        raise PromptpoolError(f"adapters: no adapter {adapter!r}; use one of {', '.join([BASE, *known])}")
    return split_adapter_id(adapter)


def checkpoints(config: Mapping, names: Iterable[str]) -> list[str]:
    """Every `name@step` of the named adapters, in the config's order."""
    return [f"{name}@{step}" for name in names for step in config["adapters"][name]["steps"]]


def trainings(config: Mapping, name: str) -> list[str]:
    """An adapter's trainings, one for each seed, the first seed's under the adapter's own name."""
    return [name, *(seed_name(name, seed) for seed in (config["adapters"][name]["seeds"] or ())[1:])]


def seeded(config: Mapping, adapter: str) -> list[str]:
    """The ids of one checkpoint's trainings: `halves@80` -> [`halves@80`, `halves~7@80`]; `base` -> [`base`]."""
    if adapter == BASE:
        return [BASE]
    name, step = split_adapter_id(adapter)
    return [f"{training}@{step}" for training in trainings(config, name)]


def untrained(spec: Mapping) -> bool:
    """Whether an adapter is not trained here: others trained it, or it is a mean of adapters."""
    return bool(spec["path"] or spec["mean_of"])


def inner_layer(spec: Mapping) -> dict:
    """`layer` of an adapter as a part of a mapping, if it is not the last."""
    return {"layer": spec["layer"]} if spec["layer"] != LAST_LAYER else {}


def recipe(config: Mapping, training: str) -> dict:
    """What changes a training's weights: all keys of its adapter except model, pairs, seeds and EXECUTION, its own
    seed, the weights of its pair sets in their order (null for none), and the study's dtype. Of an untrained one, its
    origin and NAMED."""
    name, seed = split_seed(training)
    spec = config["adapters"][name]
    if untrained(spec):
        origin = ("path", "revision") if spec["path"] else ("mean_of",)
        return {**{key: spec[key] for key in (*origin, *NAMED)}, **inner_layer(spec)}
    left_out = ("model", "pairs", "seeds", "path", "revision", "mean_of", *EXECUTION)
    kept = {key: value for key, value in spec.items() if key not in left_out}
    if seed is not None:
        kept["seed"] = seed
    if spec["negatives"] == "micro_batch":
        kept["micro_batch_size"] = spec["micro_batch_size"]
    for key, default in RECIPE_DEFAULTS.items():
        if kept[key] == default:
            del kept[key]
    if kept["lora"]["target_modules"] in (["auto"], ["all-linear"]):  # the word alone is the same
        kept["lora"] = {**kept["lora"], "target_modules": kept["lora"]["target_modules"][0]}
    weights = list(spec["pairs"].values()) if isinstance(spec["pairs"], Mapping) else None
    return {**kept, "weights": weights, "dtype": config["dtype"]}
