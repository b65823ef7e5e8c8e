"""Averages published by others, for reference lines. They are never rows of our scores."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

import yaml

from .catalogue import benchmark_tasks, catalogue

PUBLISHED_FILE = files(__package__) / "published.yaml"


@cache
def published() -> list[dict]:
    """The resource's entries: `benchmark`, `types`, and `averages`, each `label`, `value` (times 100), `source`."""
    return yaml.safe_load(PUBLISHED_FILE.read_text(encoding="utf-8"))


def published_scores(config: Mapping, tasks: Iterable[str]) -> list[dict]:
    """The averages published on exactly these tasks: `label`, `value` (times 100) and `source`, by value.

    config: the resolved one. The list is empty unless the tasks are all of a benchmark's (of the types that the average
    covers) and each is MTEB's own: the same subsets and splits, and MTEB's own revision of the data.
    """
    found, tasks = [], set(tasks)
    for entry in published():
        wanted = benchmark_tasks(entry["benchmark"], entry["types"])
        if tasks == set(wanted) and all(_same(config["tasks"].get(task), wanted[task]) for task in tasks):
            found += entry["averages"]
    return sorted(found, key=lambda line: (line["value"], line["label"]))


def _same(spec: Mapping | None, wanted: Mapping) -> bool:
    """Whether a task of the config is the benchmark's own, on the same data."""
    if spec is None or spec["source"] != "mteb" or (spec.get("name") or wanted["name"]) != wanted["name"]:
        return False
    revisions = {revision for _, revision in catalogue()["data"][wanted["name"]]}
    parts = all(spec.get(key) == wanted[key] for key in ("subsets", "splits"))
    return parts and (spec["revision"] is None or revisions == {spec["revision"]})
