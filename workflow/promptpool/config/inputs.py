"""Checks of a study's inputs: models, corpora, pairs, adapters, tasks, baselines."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise, starmap
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import choices
from ..hub.snapshots import looks_local
from ..pairs.styles import TEXT_STYLES, WORDINGS, known_styles, turns
from ..tasks.catalogue import ranks_documents
from ..templates import SLOT
from ..variants import BASE, RAW
from .adapters import untrained
from .hard_negatives import hard_negatives
from .packaged import packaged_faults
from .queries import held_out_faults, query_faults, several_faults
from .references import checkpoint_faults, docstrings_only, no_revision, references, trained_layer_faults
from .roles import prompt_faults
from .widths import width_faults

COMMIT = re.compile("[0-9a-f]{40}")
TARGET_WORDS = ("auto", "all-linear")  # as training.lora_targets reads them
TAKEN = (BASE, "baseline")  # reserved: the scores' `adapter` column uses them for the untuned model and baselines


def models(config: Mapping) -> Iterator[str]:
    for name, model in config["models"].items():
        key, path = f"models.{name}", model["path"]
        if not looks_local(path):
            continue
        yield from no_revision(key, model)
        if not Path(path).exists() and config["base_model"]:
            continue  # `make base-model` reads this config to train it
        if not Path(path).is_dir():
            yield f"{key}.path: no such directory: {path!r}; fix the path, or give a hub id such as owner/name"
        elif not Path(path, "config.json").is_file():
            yield f"{key}.path: {path!r} holds no config.json; give a directory that save_pretrained wrote"


def corpora(config: Mapping) -> Iterator[str]:
    for name, corpus in config["corpora"].items():
        if corpus["source"] == "docstrings":
            for package in corpus["labelled"]:
                if package not in corpus["packages"]:
                    remedy = f"add it to corpora.{name}.packages, or remove it here"
                    yield f"corpora.{name}.labelled: {package!r} is not among the corpus's packages; {remedy}"


def base_model(config: Mapping) -> Iterator[str]:
    spec = config["base_model"]
    if spec:
        yield from references("base_model.corpus", "corpus", [spec["corpus"]], config, "corpora")
        yield from docstrings_only("base_model.corpus", spec["corpus"], "a base model", config)
        for key, whole, part in (("heads", "width", "heads"), ("kv_heads", "heads", "kv_heads")):
            if spec[whole] % spec[part]:
                yield f"base_model.{key}: {spec[part]} does not divide {whole}, {spec[whole]}; give a divisor of it"


def styles(config: Mapping) -> Iterator[str]:
    for name, wording in config["styles"].items():
        key = f"styles.{name}"
        if name in TEXT_STYLES:
            yield f"{key}: {name!r} is a style that needs no language model; choose another name"
        kinds = [kind for kind in WORDINGS if kind in wording]
        if len(kinds) != 1:
            given = " and ".join(kinds) or "none"
            yield f"{key}: a style has one of {', '.join(WORDINGS)}, and this has {given}; write one"
        for template in turns(wording):
            if template.count(SLOT) != 1:
                has = template.count(SLOT)
                yield f"{key}: every instruction needs exactly one {SLOT}, and {template!r} has {has}; add it"


def pairs(config: Mapping) -> Iterator[str]:
    styles = known_styles(config["styles"])
    for name, spec in config["pairs"].items():
        key, model = f"pairs.{name}", spec["model"]
        yield from references(f"{key}.corpus", "corpus", [spec["corpus"]], config, "corpora")
        if spec["column"] != "text":
            yield from docstrings_only(f"{key}.column", spec["corpus"], f"the column {spec['column']!r}", config)
        for style in spec["styles"]:
            if style not in styles and style not in TEXT_STYLES:
                remedy = choices(style, [*TEXT_STYLES, *styles])
                yield f"{key}.styles: unknown style {style!r}; {remedy}, or define it in styles"
        if "dataset" in spec["styles"] and not config["corpora"][spec["corpus"]].get("positive"):
            where = f"corpora.{spec['corpus']}"
            yield f"{key}.styles: dataset needs a corpus with positives; name their column in {where}.positive"
        written = [style for style in spec["styles"] if style not in TEXT_STYLES]
        if not written:
            if model is not None:
                only = ", ".join(spec["styles"])
                yield f"{key}.model: {only} use no language model, so {model!r} is not used; remove it"
        elif model is None:
            known = ", ".join(config["models"])
            yield f"{key}.model: missing; style {written[0]!r} is written by a language model; name one of {known}"
        elif spec["backend"] != "openai":
            yield from writer(f"{key}.model", model, config)
        bounds = spec["filters"]["length_ratio"]
        if bounds and bounds[0] >= bounds[1]:
            yield f"{key}.filters.length_ratio: {bounds[0]} is not below {bounds[1]}; give the lower bound first"
        yield from several_faults(key, spec)
        yield from query_faults(key, spec, config)
        semantic = spec["filters"]["semantic"]
        if semantic and semantic["prompt"].count(SLOT) != 1:
            yield f"{key}.filters.semantic.prompt: {semantic['prompt']!r} needs exactly one {SLOT}; add it"


def writer(key: str, model: str, config: Mapping) -> Iterator[str]:
    yield from references(key, "model", [model], config, "models")
    if not config["models"][model]["causal"]:
        yield f"{key}: {model!r} has causal: false and cannot write; name a model with its causal mask"


def adapters(config: Mapping) -> Iterator[str]:
    for name, spec in config["adapters"].items():
        key = f"adapters.{name}"
        if name in TAKEN:
            yield f"{key}: {name!r} is a reserved name; choose another"
        yield from references(f"{key}.model", "model", [spec["model"]], config, "models")
        yield from untrained_adapter(key, spec, config)
        yield from references(f"{key}.pairs", "pairs", spec["pairs"] or (), config, "pairs")
        yield from held_out_faults(f"{key}.pairs", list(spec["pairs"] or ()), config)
        yield from prompt_faults(f"{key}.prompt", spec["prompt"], "training", config)
        path = config["models"][spec["model"]]["path"]
        yield from trained_layer_faults(f"{key}.layer", spec["model"], path, spec["layer"])
        if untrained(spec):
            continue
        if spec["prompt"] in config["roles"] and spec["tokenization"] != "composed":
            yield f"{key}.tokenization: {spec['tokenization']} puts one prompt round both texts; write composed"
        if spec["seeds"] and spec["seed"] not in (None, spec["seeds"][0]):
            yield f"{key}.seed: {spec['seed']} is not the first of seeds, {spec['seeds'][0]}; remove seed"
        yield from training_length(key, spec)
        yield from target_modules(f"{key}.lora.target_modules", spec["lora"]["target_modules"])
        yield from batch_split(key, spec)
        yield from hard_negatives(f"{key}.hard_negatives", spec, config)
        yield from width_faults(f"{key}.matryoshka", spec["matryoshka"] or (), spec["model"], spec["pooling"], config)


def untrained_adapter(key: str, spec: Mapping, config: Mapping) -> Iterator[str]:
    """Faults of an adapter that others trained or that is a mean, and of one without pairs that is neither."""
    path, members = spec["path"], spec["mean_of"]
    if not untrained(spec):
        if spec["pairs"] is None:
            yield f"{key}.pairs: missing; name the sets of pairs it is trained on, or its path if others trained it"
        return
    what = "an adapter with a path" if path else "a mean of adapters"
    if spec["pairs"] is not None:
        yield f"{key}.pairs: {what} is not trained{' here' * bool(path)}; remove pairs"
    if spec["seeds"]:
        yield f"{key}.seeds: {what} is not trained{' here' * bool(path)}; remove seeds"
    if path and members:
        yield f"{key}.mean_of: an adapter with a path is no mean; remove one of the two"
    if len(spec["steps"]) > 1:
        yield f"{key}.steps: {what} is one checkpoint, and {len(spec['steps'])} steps are named; name one"
    for member in members or ():
        if member == BASE:
            yield f"{key}.mean_of: {BASE!r} is no adapter; name checkpoints"
        yield from checkpoint_faults(f"{key}.mean_of", member, config, spec["model"])
        if config["adapters"][member.partition("@")[0]]["mean_of"]:
            yield f"{key}.mean_of: {member!r} is itself a mean; name its members"
    if path and looks_local(path):
        yield from no_revision(key, spec)
        if not Path(path).is_dir():
            yield f"{key}.path: no such directory: {path!r}; fix the path, or give a hub id such as owner/name"


def training_length(key: str, spec: Mapping) -> Iterator[str]:
    """Faults of an adapter's steps and of the length of its training."""
    steps = spec["steps"]
    for before, after in pairwise(steps):
        if after < before:
            yield f"{key}.steps: {after} comes after {before}; list the steps in ascending order"
    if (spec["max_steps"] is None) == (spec["epochs"] is None):
        given = "neither is given" if spec["epochs"] is None else "both are given"
        yield f"{key}: the length of training is max_steps or epochs, and {given}; give one of them"
    if spec["max_steps"] is not None and steps[-1] > spec["max_steps"]:
        yield (
            f"{key}.steps: step {steps[-1]} is beyond the training's {spec['max_steps']} steps; "
            f"remove it or raise max_steps"
        )


def batch_split(key: str, spec: Mapping) -> Iterator[str]:
    """Faults of how an adapter's batch is divided into micro-batches and over GPUs."""
    micro, own_negatives = spec["micro_batch_size"], spec["negatives"] == "micro_batch"
    if micro is not None and micro > spec["batch_size"]:
        yield f"{key}.micro_batch_size: {micro} is larger than batch_size, {spec['batch_size']}; give at most that"
    if own_negatives:
        if micro is None:
            yield f"{key}.micro_batch_size: missing; negatives micro_batch takes their number from it; add it"
        elif spec["batch_size"] % micro:
            yield f"{key}.micro_batch_size: {micro} does not divide batch_size, {spec['batch_size']}; change one"
        elif micro < 2:
            yield f"{key}.micro_batch_size: a micro-batch of {micro} holds no negatives; give at least 2"
    if spec["batch_size"] % (spec["gpus"] * (micro if own_negatives and micro else 1)):
        yield f"{key}.gpus: {spec['gpus']} can't share a batch of {spec['batch_size']} evenly; change one"


def target_modules(key: str, targets: object) -> Iterator[str]:
    """The faults of a word that stands for layers; whether a model has the layers of a list, only the model says."""
    if isinstance(targets, str) and targets not in TARGET_WORDS:
        yield f"{key}: expected {', '.join(TARGET_WORDS)} or a list of names, not {targets!r}; write [{targets}]"
    words = [word for word in TARGET_WORDS if word in targets] if isinstance(targets, list) else []
    if words and len(targets) > 1:
        yield f"{key}: {words[0]} stands for layers by itself, and the list names more; write {words[0]} alone"


def tasks(config: Mapping) -> Iterator[str]:
    if not config["tasks"]:
        if not any(spec["validation"] for spec in config["adapters"].values()):  # held-out pairs need no labels
            yield "tasks: none given; add one, or name a benchmark under benchmarks"
        for section in ("ablations", "attention", "aggregations"):
            if config[section]:
                yield f"tasks: none given, and {section} needs one; add one, or remove {section}"
        if config["grid"]["post_processing"] != [RAW]:
            yield "tasks: none given, and grid.post_processing needs one; add one, or remove it"
    for name, spec in config["tasks"].items():
        if spec["source"] not in ("docstrings", "docstring-search"):
            continue
        key = f"tasks.{name}"
        yield from references(f"{key}.corpus", "corpus", [spec["corpus"]], config, "corpora")
        yield from docstrings_only(f"{key}.corpus", spec["corpus"], f"a {spec['source']} task", config)
        labelled = config["corpora"][spec["corpus"]]["labelled"]
        for package in spec["packages"]:
            if package not in labelled:
                remedy = f"add it to corpora.{spec['corpus']}.labelled"
                yield f"{key}.packages: {package!r} is not a labelled package of corpus {spec['corpus']!r}; {remedy}"


def _server_faults(key: str, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"{key}.url: {url!r} is not a web address; give the server's, such as http://localhost:8000/v1"
    elif parts.username:
        yield f"{key}.url: an address with a name or a password in it would be shown in logs; use key_variable"


def baselines(config: Mapping) -> Iterator[str]:
    for name, spec in config["baselines"].items():
        key, path = f"baselines.{name}", spec.get("path")
        if spec["kind"] == "openai":
            yield from _server_faults(key, spec["url"])
        slots = spec.get("prompt", "{text}").count("{text}")
        if slots != 1:
            yield f"{key}.prompt: needs exactly one {{text}}; it has {slots}: {spec['prompt']!r}"
        if spec["kind"] == "bm25" and config["tasks"] and not any(starmap(ranks_documents, config["tasks"].items())):
            yield f"{key}: bm25 ranks documents for queries, and no task is one of retrieval; remove it, or add one"
        if path is None:
            continue
        if spec["package"]:
            yield from packaged_faults(key, spec)
        elif looks_local(path):
            yield from no_revision(key, spec)
            if not Path(path).is_dir():
                yield f"{key}.path: no such directory: {path!r}; fix the path, or give a hub id such as owner/name"
        elif spec["trust_remote_code"] and not COMMIT.fullmatch(spec["revision"] or ""):
            yield f"{key}.trust_remote_code: code must be pinned before it is trusted; give a commit id as revision"
