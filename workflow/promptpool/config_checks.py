"""What a schema can't say of a config: references, templates, checkpoints, and what can be exported."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from .catalogue import unknown_tasks
from .config_adapters import BASE, adapter_ids, checkpoints
from .config_files import corpus_file_problems, task_file_problems, topic_problems
from .config_schema import choices
from .errors import PromptpoolError
from .templates import Template

TAKEN = (BASE, "baseline")  # `adapter` in the scores says these of the untuned model and of baselines
STYLES_WITHOUT_MODEL = ("halves", "identity")
EXPORTABLE = ("mean", "last", "eos", "weighted", "max")
VARIANT = ("model", "adapter", "prompt", "pooling", "layer")


def first_problem(config: Mapping) -> str | None:
    """The first fault of a config whose defaults are filled, as `dotted.key: what is wrong; the mend`, or None.

    A check may rely on all that stands before it, so only the first fault is sure to be one. Users' files come
    last: they take longest.
    """
    for check in (
        _prompts, _models, _corpora, _base_model, _pairs, _adapters, _grid, _tasks, unknown_tasks,
        _baselines, _ablations, _attention, _exports,
        corpus_file_problems, topic_problems, task_file_problems,
    ):  # fmt: skip
        for problem in check(config):
            return problem
    return None


def looks_local(path: str) -> bool:
    """Whether a model's path means a directory. A hub id is `name` or `owner/name`."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(path).exists()


def _absent(key: str, kind: str, value: object, known: Iterable[str], section: str) -> str:
    listed = choices(value, known)
    return f"{key}: no {kind} named {value!r} in {section}; {listed + ', or ' if listed else ''}add it there"


def _references(key: str, kind: str, values: Iterable[str], config: Mapping, section: str) -> Iterator[str]:
    for value in values:
        if value not in config[section]:
            yield _absent(key, kind, value, config[section], section)


def _prompts(config: Mapping) -> Iterator[str]:
    for name, template in config["prompts"].items():
        try:
            Template.parse(name, template)
        except PromptpoolError as error:
            yield str(error)


def _models(config: Mapping) -> Iterator[str]:
    for name, model in config["models"].items():
        key, path = f"models.{name}", model["path"]
        if not looks_local(path):
            continue
        yield from _no_revision(key, model)
        if not Path(path).exists() and config["base_model"]:
            continue  # `make base-model` reads this very config to make it
        if not Path(path).is_dir():
            yield f"{key}.path: no such directory: {path!r}; mend the path, or give a hub id such as owner/name"
        elif not Path(path, "config.json").is_file():
            yield f"{key}.path: {path!r} holds no config.json; give a directory that save_pretrained wrote"


def _no_revision(key: str, spec: Mapping) -> Iterator[str]:
    if spec["revision"] is not None:
        revision, path = spec["revision"], spec["path"]
        yield f"{key}.revision: {revision!r} is for a hub model, and {path!r} is a directory; take it out"


def _baselines(config: Mapping) -> Iterator[str]:
    for name, spec in config["baselines"].items():
        key, path = f"baselines.{name}", spec.get("path")
        if path is None:
            continue
        if spec["prompt"].count("{text}") != 1:
            slots = spec["prompt"].count("{text}")
            yield f"{key}.prompt: needs exactly one {{text}}; it has {slots}: {spec['prompt']!r}"
        if looks_local(path):
            yield from _no_revision(key, spec)
            if not Path(path).is_dir():
                yield f"{key}.path: no such directory: {path!r}; mend the path, or give a hub id such as owner/name"


def _corpora(config: Mapping) -> Iterator[str]:
    for name, corpus in config["corpora"].items():
        if corpus["source"] == "docstrings":
            for package in corpus["labelled"]:
                if package not in corpus["packages"]:
                    mend = f"add it to corpora.{name}.packages, or take it out"
                    yield f"corpora.{name}.labelled: {package!r} is not among the corpus's packages; {mend}"


def _docstrings_only(key: str, corpus: str, what: str, config: Mapping) -> Iterator[str]:
    source = config["corpora"][corpus]["source"]
    if source != "docstrings":
        yield f"{key}: {what} needs a corpus of source docstrings, and {corpus!r} is of source {source}; name another"


def _base_model(config: Mapping) -> Iterator[str]:
    spec = config["base_model"]
    if spec:
        yield from _references("base_model.corpus", "corpus", [spec["corpus"]], config, "corpora")
        yield from _docstrings_only("base_model.corpus", spec["corpus"], "a base model", config)
        for key, whole, part in (("heads", "width", "heads"), ("kv_heads", "heads", "kv_heads")):
            if spec[whole] % spec[part]:
                yield f"base_model.{key}: {spec[part]} does not divide {whole}, {spec[whole]}; give a divisor of it"


def _pairs(config: Mapping) -> Iterator[str]:
    for name, spec in config["pairs"].items():
        key, style, model = f"pairs.{name}", spec["style"], spec["model"]
        yield from _references(f"{key}.corpus", "corpus", [spec["corpus"]], config, "corpora")
        if spec["column"] != "text":
            yield from _docstrings_only(f"{key}.column", spec["corpus"], f"the column {spec['column']!r}", config)
        if style in STYLES_WITHOUT_MODEL:
            if model is not None:
                yield f"{key}.model: style {style!r} uses no language model, and this names {model!r}; take it out"
            continue
        if model is None:
            known = ", ".join(config["models"])
            yield f"{key}.model: missing; style {style!r} is written by a language model; name one of {known}"
        else:
            yield from _references(f"{key}.model", "model", [model], config, "models")
        if spec["backend"] == "none":
            yield f"{key}.backend: 'none' runs no language model, and style {style!r} needs one; write transformers"


def _adapters(config: Mapping) -> Iterator[str]:
    for name, spec in config["adapters"].items():
        key, steps = f"adapters.{name}", spec["steps"]
        if name in TAKEN:
            yield f"{key}: {name!r} is a name of promptpool's own; choose another"
        yield from _references(f"{key}.model", "model", [spec["model"]], config, "models")
        yield from _references(f"{key}.pairs", "pairs", spec["pairs"], config, "pairs")
        yield from _references(f"{key}.prompt", "prompt", [spec["prompt"]], config, "prompts")
        for before, after in pairwise(steps):
            if after < before:
                yield f"{key}.steps: {after} comes after {before}; list the steps in rising order"
        if steps[-1] > spec["max_steps"]:
            yield (
                f"{key}.steps: step {steps[-1]} is beyond the training's {spec['max_steps']} steps; "
                f"take it out or raise max_steps"
            )
        micro = spec["micro_batch_size"]
        if micro is not None and micro > spec["batch_size"]:
            yield f"{key}.micro_batch_size: {micro} is larger than batch_size, {spec['batch_size']}; give at most that"
        if spec["negatives"] == "micro_batch":
            if micro is None:
                yield f"{key}.micro_batch_size: missing; with negatives micro_batch it sets their number; give one"
            elif spec["batch_size"] % micro:
                yield f"{key}.micro_batch_size: {micro} does not divide batch_size, {spec['batch_size']}; change one"
            elif micro < 2:
                yield f"{key}.micro_batch_size: a micro-batch of {micro} holds no negative; give at least 2"


def _checkpoint(key: str, reference: str, config: Mapping, model: str | None = None) -> Iterator[str]:
    """The faults of one `base` or `name@step`, which must tune `model` where one is given."""
    name, _, step = reference.partition("@")
    if reference == BASE:
        return
    if name not in config["adapters"]:
        yield _absent(key, "adapter", name, [BASE, *config["adapters"]], "adapters")
    known = checkpoints(config, [name])
    if not step:
        yield f"{key}: {reference!r} names no checkpoint; {choices(reference, known)}"
    if reference not in known:
        yield f"{key}: adapter {name!r} keeps no checkpoint at step {step!r}; {choices(reference, known)}"
    tuned = config["adapters"][name]["model"]
    if model is not None and tuned != model:
        yield f"{key}: adapter {reference!r} tunes model {tuned!r}, not {model!r}; name another, or {BASE}"


def _grid(config: Mapping) -> Iterator[str]:
    grid = config["grid"]
    yield from _references("grid.models", "model", grid["models"], config, "models")
    yield from _references("grid.prompts", "prompt", grid["prompts"], config, "prompts")
    selected = grid["adapters"]
    if isinstance(selected, str) and selected != "all":
        yield f"grid.adapters: expected all or a list, not {selected!r}; write [{selected}]"
    for reference in config["adapters"] if selected == "all" else selected:
        name, at, _ = reference.partition("@")
        if at or name not in config["adapters"]:
            yield from _checkpoint("grid.adapters", reference, config)
        if name != BASE and config["adapters"][name]["model"] not in grid["models"]:
            model = config["adapters"][name]["model"]
            yield f"grid.adapters: {name!r} tunes {model!r}, which grid.models lacks; add it there, or name others"
    for name in grid["models"]:
        yield from _layers(name, config["models"][name]["path"], grid["layers"])


def _layers(name: str, path: str, layers: Iterable[int]) -> Iterator[str]:
    """A layer that a local model lacks; a hub model is not asked."""
    try:
        depth = json.loads(Path(path, "config.json").read_text(encoding="utf-8")).get("num_hidden_layers")
    except (OSError, ValueError, AttributeError):
        return
    for layer in layers:
        if isinstance(depth, int) and not -depth - 1 <= layer <= depth:
            yield f"grid.layers: model {name!r} has no layer {layer}; give one from {-depth - 1} to {depth}"


def _tasks(config: Mapping) -> Iterator[str]:
    if not config["tasks"]:
        yield "tasks: there is none; add one, or name a benchmark under benchmarks"
    for name, spec in config["tasks"].items():
        if spec["source"] != "docstrings":
            continue
        key = f"tasks.{name}"
        yield from _references(f"{key}.corpus", "corpus", [spec["corpus"]], config, "corpora")
        yield from _docstrings_only(f"{key}.corpus", spec["corpus"], "a docstrings task", config)
        labelled = config["corpora"][spec["corpus"]]["labelled"]
        for package in spec["packages"]:
            if package not in labelled:
                mend = f"add it to corpora.{spec['corpus']}.labelled"
                yield f"{key}.packages: {package!r} is not a labelled package of corpus {spec['corpus']!r}; {mend}"


def _ablations(config: Mapping) -> Iterator[str]:
    grid = config["grid"]
    for name, spec in config["ablations"].items():
        key, fixed, vary = f"ablations.{name}", spec["fixed"], spec["vary"]
        yield from _references(f"{key}.fixed.model", "model", [fixed["model"]], config, "models")
        values = {
            "model": grid["models"],
            "adapter": adapter_ids(config, fixed["model"]),
            "prompt": grid["prompts"],
            "pooling": grid["poolings"],
            "layer": grid["layers"],
        }
        if vary in fixed:
            yield f"{key}.fixed.{vary}: the ablation varies {vary}, so {fixed[vary]!r} can't be fixed; take it out"
        for part in VARIANT:
            if part != vary and part not in fixed:
                yield f"{key}.fixed.{part}: missing; {choices('', values[part])}"
        for where, part, value in (
            *((f"{key}.fixed.{part}", part, value) for part, value in fixed.items()),
            (f"{key}.baseline", vary, spec["baseline"]),
            *((f"{key}.values", vary, value) for value in spec["values"] or ()),
        ):
            if value not in values[part]:
                yield f"{where}: {part} {value!r} is not in the grid; {choices(value, values[part])}, or add it to grid"
        known = [*config["benchmarks"], *config["tasks"]]
        for task in spec["tasks"] or ():
            if task not in known:
                yield f"{key}.tasks: no task or benchmark named {task!r}; {choices(task, known)}"


def _attention(config: Mapping) -> Iterator[str]:
    spec = config["attention"]
    if spec:
        yield from _references("attention.prompts", "prompt", spec["prompts"], config, "prompts")
        yield from _references("attention.task", "task", [spec["task"]], config, "tasks")


def _exports(config: Mapping) -> Iterator[str]:
    for name, spec in config["exports"].items():
        key = f"exports.{name}"
        yield from _references(f"{key}.model", "model", [spec["model"]], config, "models")
        yield from _references(f"{key}.prompt", "prompt", [spec["prompt"]], config, "prompts")
        yield from _checkpoint(f"{key}.adapter", spec["adapter"], config, spec["model"])
        adapter = spec["adapter"].partition("@")[0]
        if adapter != BASE and config["adapters"][adapter]["tokenization"] == "joint":
            yield (
                f"{key}.adapter: {adapter!r} has tokenization joint, which no exported tokenizer can repeat; "
                f"export an adapter with tokenization composed"
            )
        if spec["pooling"] not in EXPORTABLE:
            yield (
                f"{key}.pooling: {spec['pooling']!r} can't be exported, sentence-transformers' own modules don't "
                f"express it; {choices(spec['pooling'], EXPORTABLE)}"
            )
