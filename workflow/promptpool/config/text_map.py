"""The map of a task's texts: what a config asks for, its open choices filled in, and its faults."""

from collections.abc import Iterator, Mapping

from ..errors import choices
from ..tasks.catalogue import catalogue
from ..variants import BASE
from .adapters import adapter_ids, inner_layer
from .roles import prompt_of_role


def labelled_tasks(config: Mapping) -> list[str]:
    """The tasks whose texts have labels: own files, docstrings, and MTEB's clustering tasks."""
    types = catalogue()["tasks"]
    return [
        name
        for name, spec in config["tasks"].items()
        if spec["source"] in ("docstrings", "file") or types.get(spec.get("name") or name) == "Clustering"
    ]


def map_choice(config: Mapping) -> dict | None:
    """`task`, `model`, `adapters` (ids, untuned first), `prompt`, `pooling`, `layer`, `texts`; None without a map.

    Nulls are taken from the first export that is in the grid. Without one they come from the last step of the grid's
    first adapter, with its own prompt, pooling and inner layer; without an adapter, or an inner layer, from the first
    entry of each of the grid's lists. The default task is the first one with labels.
    """
    spec = config["map"]
    tasks = labelled_tasks(config)
    if spec is None or (spec["task"] is None and not tasks):
        return None
    grid = config["grid"]
    ids = adapter_ids(config)
    named = spec["adapters"]
    if named is None:
        export = next((one for _, one in sorted(config["exports"].items()) if _in_grid(one, config)), None)
        last = next(one for one in reversed(ids) if _name(one) == _name(ids[min(1, len(ids) - 1)]))
        tuned = export["adapter"] if export else last
        named = [BASE, tuned] if tuned != BASE else [BASE]
        like = export or _own_variant(config, tuned)
    else:
        like = _own_variant(config, next((one for one in named if one != BASE), BASE))
    tuned = [one for one in named if one != BASE]
    model = config["adapters"][_name(tuned[0])]["model"] if tuned else like.get("model") or grid["models"][0]

    def pick(key: str, known: list) -> object:
        wanted = spec[key] if spec[key] is not None else like.get(key)
        wanted = prompt_of_role(config, wanted) if key == "prompt" else wanted
        return wanted if wanted in known or spec[key] is not None else known[0]

    return {
        "task": spec["task"] or tasks[0],
        "model": model,
        "adapters": list(named),
        "prompt": pick("prompt", [*grid["prompts"], *config["ensembles"]]),
        "pooling": pick("pooling", grid["poolings"]),
        "layer": pick("layer", grid["layers"]),
        "texts": spec["texts"],
    }


def text_map_faults(config: Mapping) -> Iterator[str]:
    """The faults of `map`, as `dotted.key: what is wrong; what to do`."""
    spec = config["map"]
    if spec is None:
        return
    grid, tasks = config["grid"], labelled_tasks(config)
    if spec["task"] is not None and spec["task"] not in tasks:
        yield f"map.task: {spec['task']!r} is not a clustering task of this study; {choices(spec['task'], tasks)}"
    known = {
        "prompt": [*grid["prompts"], *config["ensembles"]],
        "pooling": grid["poolings"],
        "layer": grid["layers"],
    }
    for key, values in known.items():
        if spec[key] is not None and spec[key] not in values:
            yield f"map.{key}: {spec[key]!r} is not in the grid; {choices(spec[key], values)}, or add it to grid"
    ids, models = adapter_ids(config), set()
    for adapter in spec["adapters"] or ():
        if adapter not in ids:
            yield f"map.adapters: {adapter!r} is not in the grid; {choices(adapter, ids)}, or add it to grid"
        elif adapter != BASE:
            models.add(config["adapters"][_name(adapter)]["model"])
    if len(models) > 1:
        yield f"map.adapters: they tune {' and '.join(sorted(models))}; name those of one model"


def _in_grid(export: Mapping, config: Mapping) -> bool:
    grid = config["grid"]
    return (
        export["adapter"] in adapter_ids(config, export["model"])
        and export["model"] in grid["models"]
        and prompt_of_role(config, export["prompt"]) in grid["prompts"]
        and export["pooling"] in grid["poolings"]
        and export["layer"] in grid["layers"]
    )


def _own_variant(config: Mapping, adapter: str) -> Mapping:
    """What an adapter was trained with, by the keys of a map; nothing for base."""
    spec = config["adapters"].get(_name(adapter))
    return {**{key: spec[key] for key in ("model", "prompt", "pooling")}, **inner_layer(spec)} if spec else {}


def _name(adapter: str) -> str:
    return adapter.partition("@")[0]
