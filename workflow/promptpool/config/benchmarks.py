"""Adds the tasks of a config's benchmarks to `tasks`, and refuses names that the pinned MTEB lacks."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

from ..errors import choices
from ..tasks.catalogue import benchmark_tasks, catalogue
from .long_texts import LONG_TEXT_KEYS


def expand_benchmarks(config: dict) -> str | None:
    """Adds the tasks of every benchmark to `tasks`, in place, as tasks of source mteb.

    A task that already exists under that name keeps its settings (a revision, say) if it is the same MTEB task. Returns
    the first fault as `dotted.key: what is wrong; what to do`, or None.
    """
    for benchmark, spec in config["benchmarks"].items():
        problem = _problem(benchmark, spec)
        if problem:
            return problem
        for name, wanted in benchmark_tasks(spec["name"], spec["types"]).items():
            if name in spec["leave_out"]:
                continue
            given = config["tasks"].get(name)
            if given is None:
                config["tasks"][name] = {"source": "mteb", "revision": None, **wanted, **dict.fromkeys(LONG_TEXT_KEYS)}
            elif given["source"] != "mteb" or {**given, "name": given["name"] or name} != {**given, **wanted}:
                return (
                    f"tasks.{name}: not the task that benchmarks.{benchmark} takes from {spec['name']}; "
                    f"give yours another name, or add {name} to benchmarks.{benchmark}.leave_out"
                )
    return None


def _problem(benchmark: str, spec: Mapping) -> str | None:
    key, known = f"benchmarks.{benchmark}", catalogue()
    if spec["name"] not in known["benchmarks"]:
        remedy = _near(spec["name"], known["benchmarks"], "mteb.get_benchmarks()")
        return f"{key}.name: MTEB {known['mteb']} has no benchmark of texts named {spec['name']!r}; {remedy}"
    types = sorted({known["tasks"][task] for task in benchmark_tasks(spec["name"])})
    for kind in spec["types"] or ():
        if kind not in types:
            return f"{key}.types: {spec['name']} has no task of type {kind!r}; {choices(kind, types)}"
    tasks = benchmark_tasks(spec["name"], spec["types"])
    for task in spec["leave_out"]:
        if task not in tasks:
            return f"{key}.leave_out: {task!r} is not one of its tasks; {choices(task, tasks)}"
    if len(spec["leave_out"]) == len(tasks):
        return f"{key}.leave_out: no task is left; remove at least one from the list"
    return None


def unknown_tasks(config: Mapping) -> Iterator[str]:
    """The faults of MTEB tasks that the pinned MTEB lacks, or that are not about texts."""
    known = catalogue()["tasks"]
    for name, spec in config["tasks"].items():
        wanted = spec.get("name") or name
        if spec["source"] == "mteb" and wanted not in known:
            key = f"tasks.{name}" + (".name" if spec.get("name") else "")
            remedy = _near(wanted, known, "mteb.get_tasks()")
            yield f"{key}: MTEB {catalogue()['mteb']} has no task of texts named {wanted!r}; {remedy}"


def _near(name: str, known: Iterable[str], list_of: str) -> str:
    """Suggests what may have been meant, without listing a thousand names."""
    lower = {one.lower(): one for one in known}
    holding = sorted((one for key, one in lower.items() if name.lower() in key), key=len) if len(name) > 3 else []
    near = holding or [lower[key] for key in difflib.get_close_matches(name.lower(), lower, n=1)]
    return f"did you mean {' or '.join(map(repr, near[:3]))}?" if near else f"{list_of} has the names"
