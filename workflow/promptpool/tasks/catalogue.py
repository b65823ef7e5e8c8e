"""Which tasks and benchmarks the pinned MTEB knows: a table that ships, because importing mteb takes seven seconds.

The workflow reads its config in every process, so `benchmarks:` is expanded from `workflow/resources/mteb.json`.
`python -m promptpool.tasks.catalogue` writes the file anew from the installed mteb; a test holds the two together.
"""

import difflib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..config.schema import choices

RESOURCE = Path(__file__).parents[2] / "resources" / "mteb.json"
ENGLISH_CLUSTERING_V2 = "MTEB(eng, v2)"


@functools.cache
def catalogue() -> Mapping:
    """`mteb` (its version), `tasks` (name -> type), `data` (name -> [repository, revision] of each of its data sets),
    `texts` (name -> [unique texts, characters], null where MTEB has not counted them), `benchmarks` (name -> entries,
    each a task's name or a mapping with `name`, and `subsets` and `splits` where the benchmark takes fewer than the
    task has).
    """
    return json.loads(RESOURCE.read_text(encoding="utf-8"))


def benchmark_tasks(name: str, types: list[str] | None = None) -> dict[str, dict]:
    """Task name -> `name`, `subsets`, `splits`, of one benchmark's tasks of these types (null: all). KeyError if
    there is no such benchmark.
    """
    known = catalogue()
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in known["benchmarks"][name]]
    return {
        entry["name"]: {"name": entry["name"], "subsets": entry.get("subsets"), "splits": entry.get("splits")}
        for entry in entries
        if types is None or known["tasks"][entry["name"]] in types
    }


def expand_benchmarks(config: dict) -> str | None:
    """Adds the tasks of every benchmark to `tasks`, in place, as tasks of source mteb.

    A task that stands there already keeps what it says (a revision, say), if it is the same one of MTEB. Returns the
    first fault as `dotted.key: what is wrong; the mend`, or None.
    """
    for benchmark, spec in config["benchmarks"].items():
        problem = _problem(benchmark, spec)
        if problem:
            return problem
        for name, wanted in benchmark_tasks(spec["name"], spec["types"]).items():
            if name in spec["leave_out"]:
                continue
            own = config["tasks"].get(name)
            if own is None:
                config["tasks"][name] = {"source": "mteb", "revision": None, **wanted}
            elif own["source"] != "mteb" or {**own, "name": own["name"] or name} != {**own, **wanted}:
                return (
                    f"tasks.{name}: not the task that benchmarks.{benchmark} takes from {spec['name']}; "
                    f"give yours another name, or add {name} to benchmarks.{benchmark}.leave_out"
                )
    return None


def _problem(benchmark: str, spec: Mapping) -> str | None:
    key, known = f"benchmarks.{benchmark}", catalogue()
    if spec["name"] not in known["benchmarks"]:
        mend = _near(spec["name"], known["benchmarks"], "mteb.get_benchmarks()")
        return f"{key}.name: MTEB {known['mteb']} has no benchmark of texts named {spec['name']!r}; {mend}"
    types = sorted({known["tasks"][task] for task in benchmark_tasks(spec["name"])})
    for kind in spec["types"] or ():
        if kind not in types:
            return f"{key}.types: {spec['name']} has no task of type {kind!r}; {choices(kind, types)}"
    tasks = benchmark_tasks(spec["name"], spec["types"])
    for task in spec["leave_out"]:
        if task not in tasks:
            return f"{key}.leave_out: {task!r} is no task of it; {choices(task, tasks)}"
    if len(spec["leave_out"]) == len(tasks):
        return f"{key}.leave_out: no task is left; take at least one out of the list"
    return None


def unknown_tasks(config: Mapping) -> Iterator[str]:
    """Tasks of source mteb that the pinned MTEB does not have, or has for other things than texts."""
    known = catalogue()["tasks"]
    for name, spec in config["tasks"].items():
        wanted = spec.get("name") or name
        if spec["source"] == "mteb" and wanted not in known:
            key = f"tasks.{name}" + (".name" if spec.get("name") else "")
            mend = _near(wanted, known, "mteb.get_tasks()")
            yield f"{key}: MTEB {catalogue()['mteb']} has no task of texts named {wanted!r}; {mend}"


def _near(name: str, known: Iterable[str], list_of: str) -> str:
    """What may have been meant, without reading out a thousand names."""
    lower = {one.lower(): one for one in known}
    holding = sorted((one for key, one in lower.items() if name.lower() in key), key=len) if len(name) > 3 else []
    near = holding or [lower[key] for key in difflib.get_close_matches(name.lower(), lower, n=1)]
    return f"did you mean {' or '.join(map(repr, near[:3]))}?" if near else f"{list_of} has the names"


def build() -> dict:
    """The table, from the installed mteb. Takes it seven seconds to import."""
    import mteb

    from .datasets import data_sets
    from .text_counts import text_count

    known = mteb.get_tasks(exclude_superseded=False, exclude_private=False)
    texts = sorted((t for t in known if list(t.metadata.modalities) == ["text"]), key=lambda task: task.metadata.name)
    tasks = {task.metadata.name: task.metadata.type for task in texts}
    benchmarks: dict[str, list] = {}
    for benchmark in mteb.get_benchmarks():
        if all(task.metadata.name in tasks for task in benchmark.tasks):
            benchmarks[benchmark.name] = [_entry(mteb, task) for task in benchmark.tasks]
    # Not benchmarks of MTEB's own making: what this paper is compared on, and what its published script asks for.
    benchmarks["paper"] = [e for e in benchmarks[ENGLISH_CLUSTERING_V2] if tasks[_name(e)] == "Clustering"]
    asked = mteb.get_tasks(task_types=["Clustering"], languages=["eng"])
    benchmarks["published-script"] = [_entry(mteb, task) for task in asked if task.metadata.name in tasks]
    data = {task.metadata.name: data_sets(task) for task in texts}
    counts = {task.metadata.name: text_count(task) for task in texts}
    return {"mteb": mteb.__version__, "tasks": tasks, "data": data, "texts": counts, "benchmarks": benchmarks}


def _entry(mteb: object, task: object) -> str | dict:
    """A task's name, or with it the subsets and splits that a benchmark takes, where they are not all there are."""
    name, whole = task.metadata.name, mteb.get_task(task.metadata.name)
    entry = {"name": name}
    if sorted(task.hf_subsets) != sorted(whole.hf_subsets):
        entry["subsets"] = sorted(task.hf_subsets)
    if sorted(task.eval_splits) != sorted(whole.eval_splits):
        entry["splits"] = sorted(task.eval_splits)
    return entry if len(entry) > 1 else name


def _name(entry: str | dict) -> str:
    return entry if isinstance(entry, str) else entry["name"]


def write(table: Mapping, path: Path = RESOURCE) -> None:
    """One line a task and a benchmark, so that a newer MTEB shows as a readable difference."""

    def lines(section: Mapping) -> str:
        return ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in section.items())

    parts = [f' "{key}": {{\n{lines(table[key])}\n }}' for key in ("tasks", "data", "texts", "benchmarks")]
    path.write_text(f'{{\n "mteb": {json.dumps(table["mteb"])},\n' + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write(build())
