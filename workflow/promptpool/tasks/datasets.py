"""The hub data sets that an MTEB task reads, and making it read them from a directory.

Offline, `datasets` ignores a revision and returns whichever one is cached. So a task gets the path of exactly the
snapshot that was downloaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import PromptpoolError

Task = Any  # mteb.abstasks.AbsTask; importing mteb takes seven seconds


def data_sets(task: Task) -> list[list[str]]:
    """[repository, revision] of each data set behind a task, in order and without repeats."""
    found = [(part.metadata.dataset["path"], part.metadata.dataset["revision"]) for part in parts(task)]
    return [list(pair) for pair in dict.fromkeys(found)]


def read_from(task: Task, snapshots: Sequence[Mapping], revision: str | None = None) -> Task:
    """Makes `task`, its data not yet loaded, read each data set from its snapshot's directory. Returns the task.

    snapshots: as `hub.held` returns them; revision: the config's, or None for MTEB's own. MTEB's result then names the
    commit that was read. Raises PromptpoolError for a data set that is not among them.
    """
    if getattr(task, "tasks", None):
        # All objects of an aggregate's class share its parts, so each gets its own.
        own = [read_from(type(part)(), snapshots, revision) for part in task.tasks]
        task.metadata = task.metadata.model_copy(update={"tasks": own})
        task.tasks = own
        return task
    asked = task.metadata.dataset
    wanted = (asked["path"], revision or asked["revision"])
    entry = {(e["repo"], e["asked"]): e for e in snapshots}.get(wanted)
    if entry is None:
        raise PromptpoolError(
            f"task {task.metadata.name}: {'@'.join(wanted)} was not prefetched; run its rule, which does, or "
            "`python -m promptpool.tasks.catalogue` if this is another MTEB"
        )
    changed = {"path": entry["folder"], "revision": entry["commit"]}
    task.metadata = task.metadata.model_copy(update={"dataset": {**asked, **changed}})
    return task


def parts(task: Task) -> Iterator[Task]:
    """The task itself, or the tasks in an aggregate."""
    for part in getattr(task, "tasks", None) or ():
        yield from parts(part)
    if not getattr(task, "tasks", None):
        yield task
