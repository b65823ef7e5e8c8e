"""The tasks and benchmarks of the pinned MTEB, as a table that ships, because importing mteb takes seven seconds.

Every process of the workflow reads the config, so `benchmarks:` is expanded from `mteb.json` beside this module.
`python -m promptpool.tasks.catalogue` rewrites the file from the installed mteb; a test checks that the two agree.
"""

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

CATALOGUE_FILE = files(__package__) / "mteb.json"
ENGLISH_CLUSTERING_V2 = "MTEB(eng, v2)"
RANKED_TYPES = ("Retrieval", "Reranking")  # MTEB's types of tasks that rank documents by text alone
SYNTHETIC_SEARCH = "synthetic-search"
OWN_SEARCHES = ("retrieval", "docstring-search", SYNTHETIC_SEARCH)  # sources of tasks that do so too


@functools.cache
def catalogue() -> Mapping:
    """The catalogue's sections. `mteb`: its version. `tasks`: name -> type. `data`: name -> [repository, revision] of
    each of its data sets. `texts`: name -> [unique texts, characters], null if MTEB has not counted them. `labels`:
    name -> different labels, of clustering tasks that MTEB has counted. `benchmarks`: name -> entries, each a task's
    name or a mapping with `name`, and with `subsets` and `splits` if the benchmark uses fewer than the task has.
    """
    return json.loads(CATALOGUE_FILE.read_text(encoding="utf-8"))


def benchmark_tasks(name: str, types: list[str] | None = None) -> dict[str, dict]:
    """Task name -> `name`, `subsets`, `splits`, for one benchmark's tasks of these types (null: all). Raises KeyError
    if there is no such benchmark.
    """
    known = catalogue()
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in known["benchmarks"][name]]
    return {
        entry["name"]: {"name": entry["name"], "subsets": entry.get("subsets"), "splits": entry.get("splits")}
        for entry in entries
        if types is None or known["tasks"][entry["name"]] in types
    }


def ranks_documents(name: str, spec: Mapping) -> bool:
    """Whether a task of the config ranks documents for queries, which BM25 can do too."""
    if spec["source"] == "mteb":
        return catalogue()["tasks"].get(spec.get("name") or name) in RANKED_TYPES
    return spec["source"] in OWN_SEARCHES


def build() -> dict:
    """Builds the table from the installed mteb, which takes seven seconds to import."""
    import mteb

    from .datasets import data_sets
    from .text_counts import clustering_labels, text_count

    known = mteb.get_tasks(exclude_superseded=False, exclude_private=False)
    texts = sorted((t for t in known if list(t.metadata.modalities) == ["text"]), key=lambda task: task.metadata.name)
    tasks = {task.metadata.name: task.metadata.type for task in texts}
    benchmarks: dict[str, list] = {}
    for benchmark in mteb.get_benchmarks():
        if all(task.metadata.name in tasks for task in benchmark.tasks):
            benchmarks[benchmark.name] = [_entry(mteb, task) for task in benchmark.tasks]
    # Not MTEB's own benchmarks: the one that the paper compares on, and the one that its published script uses.
    benchmarks["paper"] = [e for e in benchmarks[ENGLISH_CLUSTERING_V2] if tasks[_name(e)] == "Clustering"]
    asked = mteb.get_tasks(task_types=["Clustering"], languages=["eng"])
    benchmarks["published-script"] = [_entry(mteb, task) for task in asked if task.metadata.name in tasks]
    data = {task.metadata.name: data_sets(task) for task in texts}
    counts = {task.metadata.name: text_count(task) for task in texts}
    labels = {task.metadata.name: found for task in texts if (found := clustering_labels(task))}
    return {"mteb": mteb.__version__, "tasks": tasks, "data": data, "texts": counts, "labels": labels,
            "benchmarks": benchmarks}  # fmt: skip


def _entry(mteb: object, task: object) -> str | dict:
    """A task's name; with the subsets and splits that a benchmark uses if these are not all."""
    name, whole = task.metadata.name, mteb.get_task(task.metadata.name)
    entry = {"name": name}
    if sorted(task.hf_subsets) != sorted(whole.hf_subsets):
        entry["subsets"] = sorted(task.hf_subsets)
    if sorted(task.eval_splits) != sorted(whole.eval_splits):
        entry["splits"] = sorted(task.eval_splits)
    return entry if len(entry) > 1 else name


def _name(entry: str | dict) -> str:
    return entry if isinstance(entry, str) else entry["name"]


def write_catalogue(table: Mapping, path: Path = CATALOGUE_FILE) -> None:
    """Writes one line for each task and benchmark, so that a newer MTEB gives a readable diff."""

    def lines(section: Mapping) -> str:
        return ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in section.items())

    parts = [f' "{key}": {{\n{lines(table[key])}\n }}' for key in ("tasks", "data", "texts", "labels", "benchmarks")]
    path.write_text(f'{{\n "mteb": {json.dumps(table["mteb"])},\n' + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_catalogue(build())
