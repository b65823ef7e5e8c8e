"""Checks of a study's outputs: the grid, ensembles, ablations, attention, exports."""

from collections.abc import Iterator, Mapping

from ..analysis.axes import baseline_of, values_of, varied
from ..errors import PromptpoolError, choices
from ..text.function_words import read_function_words
from ..variants import BASE, POOLING_KEYS, RAW, WHOLE_LAYER, short_vector
from .adapters import adapter_ids
from .aggregations import post_processing_fault
from .references import checkpoint_faults, layers, references
from .roles import prompt_faults
from .widths import width_faults

EXPORTABLE = ("mean", "last", "eos", "weighted", "max", "concat")
VARIED = ("model", "adapter", "prompt", "pooling", "layer")
OPTIONAL = "post_processing"  # none where an ablation neither varies nor fixes it


def grid_faults(config: Mapping) -> Iterator[str]:
    grid = config["grid"]
    yield from references("grid.models", "model", grid["models"], config, "models")
    yield from references("grid.prompts", "prompt", grid["prompts"], config, "prompts")
    selected = grid["adapters"]
    if isinstance(selected, str) and selected != "all":
        yield f"grid.adapters: expected all or a list, not {selected!r}; write [{selected}]"
    for reference in config["adapters"] if selected == "all" else selected:
        name, at, _ = reference.partition("@")
        if at or name not in config["adapters"]:
            yield from checkpoint_faults("grid.adapters", reference, config)
        if name != BASE and config["adapters"][name]["model"] not in grid["models"]:
            model = config["adapters"][name]["model"]
            yield f"grid.adapters: {name!r} tunes {model!r}, which grid.models lacks; add it there, or name others"
    if grid["tokenization"] == "joint":
        for pooling in grid["poolings"]:
            if pooling.endswith(":text"):
                yield f"grid.poolings: tokenization joint has no text span, so no {pooling}; remove one of them"
    for name in grid["models"]:
        yield from layers("grid.layers", name, config["models"][name]["path"], grid["layers"])


def ensembles(config: Mapping) -> Iterator[str]:
    known = config["grid"]["prompts"]
    for name, spec in config["ensembles"].items():
        if name in config["prompts"]:
            yield f"ensembles.{name}: {name!r} is the name of a prompt; choose another"
        for prompt in spec["prompts"]:
            if prompt not in known:
                yield f"ensembles.{name}.prompts: {prompt!r} is not in grid.prompts; {choices(prompt, known)}"


def ablations(config: Mapping) -> Iterator[str]:
    grid = config["grid"]
    for name, spec in config["ablations"].items():
        key, fixed, axes = f"ablations.{name}", spec["fixed"], varied(spec)
        yield from _axes(key, spec)
        model = fixed.get("model")
        if model is not None:
            yield from references(f"{key}.fixed.model", "model", [model], config, "models")
        values = {
            "model": grid["models"],
            # Models share no adapter, so over models the adapter is base or varies too.
            "adapter": ["base"] if model is None and "adapter" not in axes else adapter_ids(config, model),
            "prompt": [*grid["prompts"], *config["ensembles"], *config["roles"]],
            "pooling": [*grid["poolings"], *config["aggregations"]],
            "layer": [*grid["layers"], *([WHOLE_LAYER] if config["aggregations"] else [])],
            OPTIONAL: list(dict.fromkeys([RAW, *grid["post_processing"]])),
        }
        for vary in axes:
            if vary in fixed:
                yield f"{key}.fixed.{vary}: the ablation varies {vary}, so {fixed[vary]!r} can't be fixed; remove it"
        for part in VARIED:
            if part not in axes and part not in fixed:
                yield f"{key}.fixed.{part}: missing; {choices('', values[part])}"
        for where, part, value in (
            *((f"{key}.fixed.{part}", part, value) for part, value in fixed.items()),
            *((f"{key}.baseline", vary, value) for vary, value in baseline_of(spec).items()),
            *((f"{key}.values", vary, value) for vary in axes for value in values_of(spec, vary) or ()),
        ):
            if value not in values[part]:
                yield f"{where}: {part} {value!r} is not in the grid; {choices(value, values[part])}, or add it to grid"
        if {"model", "adapter"} <= set(axes):
            start = spec["baseline"]
            yield from checkpoint_faults(f"{key}.baseline", start["adapter"], config, start["model"])
        known = [*config["benchmarks"], *config["tasks"]]
        yield from _readouts_of_roles(key, spec, config)
        for task in spec["tasks"] or ():
            if task not in known:
                yield f"{key}.tasks: no task or benchmark named {task!r}; {choices(task, known)}"


def _readouts_of_roles(key: str, spec: Mapping, config: Mapping) -> Iterator[str]:
    """Roles are scored with plain poolings: a post-processing is fitted under one prompt."""
    fixed, start = spec["fixed"], baseline_of(spec)
    prompts = [fixed.get("prompt"), start.get("prompt"), *(values_of(spec, "prompt") or ())]
    named = next((prompt for prompt in prompts if prompt in config["roles"]), None)
    poolings = {fixed.get("pooling"), start.get("pooling")} & set(config["aggregations"])
    if named and (OPTIONAL in varied(spec) or fixed.get(OPTIONAL, RAW) != RAW or poolings):
        yield f"{key}: {named!r} is in roles, which no post-processing or aggregation is scored with; name a prompt"


def _axes(key: str, spec: Mapping) -> Iterator[str]:
    """The faults of what varies, and of how baseline and values name it."""
    axes = varied(spec)
    for vary in axes:
        if vary not in (*VARIED, OPTIONAL):
            yield f"{key}.vary: unknown vary {vary!r}; {choices(vary, (*VARIED, OPTIONAL))}"
    if len(axes) not in (1, 2) or len(set(axes)) < len(axes):
        yield f"{key}.vary: {list(axes)} is not one thing, nor two different ones; name one or two"
    if isinstance(spec["vary"], list) and len(axes) == 1:
        yield f"{key}.vary: a list names two things; write {axes[0]} without brackets"
    table, both = len(axes) == 2, " and ".join(axes)
    shown = "{" + ", ".join(f"{axis}: ..." for axis in axes) + "}"
    if table and not (isinstance(spec["baseline"], Mapping) and set(spec["baseline"]) == set(axes)):
        yield f"{key}.baseline: {both} vary, and {spec['baseline']!r} is no value of each; write {shown}"
    if not table and isinstance(spec["baseline"], Mapping):
        yield f"{key}.baseline: only {both} varies; write its value alone"
    values = spec["values"]
    if table and values is not None and not (isinstance(values, Mapping) and set(values) <= set(axes)):
        yield f"{key}.values: {both} vary, and {values!r} does not list values of these; write {shown}"
    if not table and isinstance(values, Mapping):
        yield f"{key}.values: only {both} varies; write a list of its values"


def attention(config: Mapping) -> Iterator[str]:
    spec = config["attention"]
    if spec:
        yield from references("attention.prompts", "prompt", spec["prompts"], config, "prompts")
        yield from references("attention.task", "task", [spec["task"]], config, "tasks")
        if isinstance(spec["layers"], str) and spec["layers"] != "all":
            yield f"attention.layers: expected all or a list, not {spec['layers']!r}; write [{spec['layers']}]"
        if spec["function_words"]:
            try:
                read_function_words(spec["function_words"])
            except PromptpoolError as error:
                yield str(error)
        known = adapter_ids(config)
        for adapter in spec["adapters"] or ():
            if adapter not in known:
                yield f"attention.adapters: {adapter!r} is not in the grid; {choices(adapter, known)}"


def exports(config: Mapping) -> Iterator[str]:
    for name, spec in config["exports"].items():
        key = f"exports.{name}"
        yield from references(f"{key}.model", "model", [spec["model"]], config, "models")
        yield from prompt_faults(f"{key}.prompt", spec["prompt"], "an export", config)
        for part, plain in (("tokenization", "composed"), ("text_normalisation", "none")):
            if config["grid"][part] != plain:
                yield (
                    f"{key}: the grid is scored with {part} {config['grid'][part]}, which no exported tokenizer can "
                    f"reproduce; set grid.{part}: {plain}, or remove the export"
                )
        yield from checkpoint_faults(f"{key}.adapter", spec["adapter"], config, spec["model"])
        adapter = spec["adapter"].partition("@")[0]
        if adapter != BASE and config["adapters"][adapter]["tokenization"] == "joint":
            yield (
                f"{key}.adapter: {adapter!r} has tokenization joint, which no exported tokenizer can reproduce; "
                f"export an adapter with tokenization composed"
            )
        yield from _exported_pooling(key, spec, config)
        yield from layers(f"{key}.layer", spec["model"], config["models"][spec["model"]]["path"], [spec["layer"]])
        if not spec["merged"]:
            for fault, why, remedy in (
                (adapter == BASE, "adapter base has no weights to keep", "write true"),
                (
                    spec["layer"] != -1,
                    "an inner layer cuts the base model, which is stored elsewhere",
                    "write true, or layer -1",
                ),
                (
                    not config["models"][spec["model"]]["causal"],
                    "the base's config keeps its causal mask",
                    "write true",
                ),
                (spec["dtype"] != "float32", f"dtype {spec['dtype']} is for merged weights", "write true, or float32"),
                # transformers would take the adapter for each route of the Router
                (spec["prompt"] in config["roles"], "roles need the weights in the directory", "write true"),
            ):
                if fault:
                    yield f"{key}.merged: false, but {why}; {remedy}"


def _exported_pooling(key: str, spec: Mapping, config: Mapping) -> Iterator[str]:
    pooling = spec["pooling"]
    yield from post_processing_fault(f"{key}.post_processing", spec["post_processing"])
    if short_vector(spec["post_processing"]):
        dims, kind = short_vector(spec["post_processing"])
        instead = [f"truncate_dim: {dims}"] * bool(dims) + [f"encode(..., precision={kind!r})"] * bool(kind)
        yield f"{key}.post_processing: {spec['post_processing']!r} is no module; use {' and '.join(instead)} instead"
    if spec["truncate_dim"]:
        parts = config["aggregations"].get(pooling, {"parts": [{"pooling": pooling}]})["parts"]
        if len(parts) == 1 and "lexical" not in parts[0]:
            dims = [spec["truncate_dim"]]
            yield from width_faults(f"{key}.truncate_dim", dims, spec["model"], parts[0]["pooling"], config)
    if pooling in config["aggregations"] or spec["post_processing"] != RAW:
        yield from _fitted_export(key, spec, config)
    if pooling in config["aggregations"]:
        yield from _exported_aggregation(key, spec, config["aggregations"][pooling])
    elif pooling not in POOLING_KEYS:
        known = [*EXPORTABLE, *config["aggregations"]]
        yield f"{key}.pooling: unknown pooling {pooling!r}; {choices(pooling, known)}"
    elif pooling not in EXPORTABLE:
        what = "weigh tokens by attention" if pooling == "attention" else "pool only some of a text's tokens"
        yield (
            f"{key}.pooling: {pooling!r} can't be exported: sentence-transformers' own modules can't {what}; "
            f"{choices(pooling, EXPORTABLE)}"
        )


def _fitted_export(key: str, spec: Mapping, config: Mapping) -> Iterator[str]:
    """What keeps an export from having statistics: they are fitted on what the grid scores."""
    if spec["prompt"] in config["roles"]:
        yield f"{key}.prompt: {spec['prompt']!r} is in roles, and statistics are fitted under one prompt; name a prompt"
    grid, named = config["grid"], spec["pooling"] in config["aggregations"]
    for part, value, known in (
        ("model", spec["model"], grid["models"]),
        ("adapter", spec["adapter"], adapter_ids(config, spec["model"])),
        ("prompt", spec["prompt"], grid["prompts"]),
        ("post_processing", spec["post_processing"], [RAW, *grid["post_processing"]]),
        *(() if named else (("pooling", spec["pooling"], grid["poolings"]), ("layer", spec["layer"], grid["layers"]))),
    ):
        if value not in known:
            yield f"{key}.{part}: {value!r} is not in the grid, so its statistics are not fitted; add it to grid"
    if spec["dtype"] != "float32" or not spec["merged"]:
        yield f"{key}: a post-processing computes in float32; write merged: true and dtype: float32"


def _exported_aggregation(key: str, spec: Mapping, aggregation: Mapping) -> Iterator[str]:
    """What keeps an aggregation from being written as stock modules of sentence-transformers."""
    poolings = [part["pooling"] for part in aggregation["parts"] if "lexical" not in part]
    for fault, what in (
        (len(poolings) < len(aggregation["parts"]), "it has a lexical part, and stock modules can't count words beside "
         "a model; export an aggregation without it"),
        (aggregation["scale"] != "corpus", "its scale is text, and stock modules can't scale parts of a vector; set "
         f"aggregations.{spec['pooling']}.scale: corpus"),
        (not set(poolings) <= set(EXPORTABLE), f"a part's pooling is none of {', '.join(EXPORTABLE)}; replace it"),
        ("eos" in poolings and set(poolings) != {"eos"}, "one tokenizer can't end texts with EOS for some parts; use "
         "eos for all or none"),
        (spec["layer"] != WHOLE_LAYER or spec["post_processing"] != RAW, "its parts have their own layer and "
         "post_processing; remove both keys here"),
        (not spec["normalize"], "its vectors have length 1; write normalize: true"),
    ):  # fmt: skip
        if fault:
            yield f"{key}.pooling: aggregation {spec['pooling']!r} can't be exported: {what}"
