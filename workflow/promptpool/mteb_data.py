"""Which data sets of the hub an MTEB task reads, and making it read them from a directory.

`datasets` ignores a revision when it is offline and returns whichever one is cached, so a task gets the path of the
very snapshot that was fetched.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import PromptpoolError

# Importing mteb creates its cache folder; nothing of ours is kept there.
os.environ.setdefault("MTEB_CACHE", os.path.join(tempfile.gettempdir(), "promptpool-mteb"))

Task = Any  # mteb.abstasks.AbsTask; importing mteb takes seven seconds


def data_sets(key: str, name: str, revision: str | None = None) -> list[tuple[str, str]]:
    """(repository, revision) of each data set behind MTEB's task `name`; `revision` takes the place of MTEB's own.

    Raises PromptpoolError for a task that MTEB does not have, and for one revision for several data sets.
    """
    import mteb

    where = key.replace("/", ".", 1)
    try:
        task = mteb.get_task(name)
    except KeyError:
        raise PromptpoolError(f"{where}.name: MTEB {mteb.__version__} has no task {name!r}; mend its name") from None
    found = dict.fromkeys((part.metadata.dataset["path"], part.metadata.dataset["revision"]) for part in parts(task))
    if revision is None:
        return list(found)
    if len(found) > 1:
        raise PromptpoolError(f"{where}.revision: {name} has {len(found)} data sets; leave MTEB's own revisions")
    return [(repo, revision) for repo, _ in found]


def read_from(task: Task, snapshots: Sequence[Mapping], revision: str | None = None) -> Task:
    """`task`, its data not yet loaded, told to read each data set from its snapshot's directory. Returns it.

    snapshots: as `hub.held` gives them; revision: the config's, or None for MTEB's own. MTEB's result then names the
    commit that was read. Raises PromptpoolError for a data set that is not among them.
    """
    if getattr(task, "tasks", None):
        # An aggregate's parts are shared by all objects of its class: each gets its own.
        own = [read_from(type(part)(), snapshots, revision) for part in task.tasks]
        task.metadata = task.metadata.model_copy(update={"tasks": own})
        task.tasks = own
        return task
    asked = task.metadata.dataset
    wanted = (asked["path"], revision or asked["revision"])
    entry = {(e["repo"], e["asked"]): e for e in snapshots}.get(wanted)
    if entry is None:
        raise PromptpoolError(
            f"task {task.metadata.name}: {'@'.join(wanted)} was not prefetched; if MTEB is another now, remove the "
            f"task's file in results/<run>/hub/tasks and run again"
        )
    changed = {"path": entry["folder"], "revision": entry["commit"]}
    task.metadata = task.metadata.model_copy(update={"dataset": {**asked, **changed}})
    return task


def parts(task: Task) -> Iterator[Task]:
    """The task itself, or the tasks that an aggregate is made of."""
    for part in getattr(task, "tasks", None) or ():
        yield from parts(part)
    if not getattr(task, "tasks", None):
        yield task
