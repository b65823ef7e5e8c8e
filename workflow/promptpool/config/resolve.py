"""Validates, completes and cross-checks a study's configuration before anything runs.

Every Snakemake process reads the config, so nothing heavy is imported here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import PromptpoolError
from .adapters import adapter_ids, adapter_of
from .benchmarks import expand_benchmarks
from .checks import first_problem
from .packaged import place_packaged
from .paths import PATH_KEYS
from .schema import fill_defaults
from .sources import file_at_fault, repeated_key

__all__ = ["adapter_ids", "adapter_of", "in_order", "resolve", "unused_left_out"]


def resolve(config: Mapping, source: str | Sequence[str] = "config.yaml", files: bool = True) -> dict:
    """The full config: every default filled, every reference checked. The argument is not changed.

    The tasks of `benchmarks` are added to `tasks`. A null that stands for another value is replaced by it: `seed`
    of pairs and adapters (the first of an adapter's `seeds`), `name` of an MTEB task, `max_text_tokens` of an export.
    A baseline inside a package gets the path of its directory, or is left out. Resolving a resolved config changes
    nothing.

    source: the config file's name, for the error's prefix. With several files, the one at fault is named.
    files: whether users' files are read and checked too. The start of a study does so. Its jobs read the config again
        and need not.
    Raises PromptpoolError, one line, for the first fault: `source: dotted.key: what is wrong; what to do`.
    """
    sources = [source] if isinstance(source, str) else source
    repeated = repeated_key(sources) if files else None
    if repeated:
        raise PromptpoolError(repeated)
    full = _plain(config, sources, ())
    if not isinstance(full, dict):
        raise PromptpoolError(f"{sources[0]}: expected keys and values, not {full!r}; start with `run: <name>`")
    problem = fill_defaults(full) or expand_benchmarks(full) or first_problem(full, files)
    if problem:
        raise PromptpoolError(f"{file_at_fault(problem, sources)}: {' '.join(problem.splitlines())}")
    return _with_inherited(full)


def in_order(value: object) -> object:
    """The same value with all mappings sorted by key, at every depth."""
    if isinstance(value, Mapping):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


# Keys of later versions, by section, with their defaults, which a study without them is shown and run without.
LATER: dict[str, dict[str, object]] = {
    "adapters": {"hard_negatives": None, "matryoshka": None},
    "corpora": {"negative": None, "task_share": None},
    "exports": {"truncate_dim": None, "serve": None},
    "pairs": {"per_text": 1, "split": "train"},
    "styles": {"writes": None},
}


def unused_left_out(config: Mapping) -> dict:
    """A resolved config without the LATER keys that have their defaults: as it was before there were any."""
    kept = dict(config)
    for section, keys in LATER.items():
        kept[section] = {
            name: {key: value for key, value in spec.items() if key not in keys or value != keys[key]}
            for name, spec in config[section].items()
        }
    for spec in kept["pairs"].values():
        if spec["filters"]["round_trip"] is None:
            spec["filters"] = {key: value for key, value in spec["filters"].items() if key != "round_trip"}
    return kept


def _plain(value: Any, sources: Sequence[str], path: tuple[str, ...]) -> Any:
    """A deep copy in plain dicts and lists. Raises PromptpoolError for a key that YAML did not read as text."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                where = ".".join([*path, str(key)])
                source = file_at_fault(where, sources)
                raise PromptpoolError(f"{source}: {where}: YAML reads this key as {key!r}, not text; put it in quotes")
        plain = {key: _plain(item, sources, (*path, key)) for key, item in value.items()}
        return {key: _at_home(item) if key in PATH_KEYS else item for key, item in plain.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, sources, path) for item in value]
    return value


def _at_home(value: Any) -> Any:
    """Expands a path that begins with `~`; leaves everything else unchanged."""
    if not isinstance(value, str) or not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:  # ~someone unknown to this machine: the path is then reported as missing
        return value


def _with_inherited(config: dict) -> dict:
    for spec in (*config["pairs"].values(), *config["adapters"].values()):
        if spec["seed"] is None:
            spec["seed"] = spec["seeds"][0] if spec.get("seeds") else config["seed"]
    for name, spec in config["tasks"].items():
        if spec["source"] == "mteb" and spec["name"] is None:
            spec["name"] = name
    place_packaged(config)
    for spec in config["exports"].values():
        if spec["max_text_tokens"] is None:
            spec["max_text_tokens"] = config["grid"]["max_text_tokens"]
    return config
