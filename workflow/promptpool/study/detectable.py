"""How small a difference a study could see, estimated from its tasks' sizes before anything runs.

From documents n and labels K of a clustering task, the half-width of the 95 % interval of a paired difference is about
sqrt((runs + documents / n) / K) points (score x 100): what k-means and what the documents add, both less with more
clusters. The constants are fitted to the bench of intervals (planning.yaml). How many documents MTEB draws has little
influence there, so it is not in it. A difference is found in 4 of 5 studies if it is 1.4 half-widths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.tables import read_labelled
from ..tasks.catalogue import catalogue, ranks_documents
from .study import Study

HALF_WIDTHS = 1.4  # (Student's 2.13 of some 15 degrees of freedom + the normal's 0.84 of four fifths) / 2.13


@dataclass(frozen=True)
class Detectable:
    """In points: of each task by name, and of the mean over these tasks. unknown: tasks without an estimate."""

    tasks: Mapping[str, float]
    unknown: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Of the mean over the tasks, whose errors are independent."""
        return float(np.sqrt(np.sum(np.square(list(self.tasks.values())))) / len(self.tasks))


def task_detectable(documents: int, labels: int, constants: Mapping) -> float:
    """The difference on one clustering task that 4 of 5 studies would find, in points."""
    return HALF_WIDTHS * float(np.sqrt((constants["runs"] + constants["documents"] / documents) / labels))


def clustering_size(study: Study, name: str) -> tuple[int, int] | None:
    """(documents, labels) of a clustering task; None for another type, or if neither MTEB nor a file counts them.

    An own file is read. Of docstrings the labelled texts are counted once the task has been built.
    """
    spec = study["tasks"][name]
    if spec["source"] == "mteb":
        known = catalogue()
        labels, texts = known["labels"].get(spec["name"]), known["texts"].get(spec["name"])
        return (texts[0], labels) if labels and texts and texts[0] else None
    if ranks_documents(name, spec):
        return None
    built = Path(study.results, "tasks", name, "labelled.parquet")
    if built.is_file():
        found = pd.read_parquet(built, columns=["label"])["label"]
    elif spec["source"] == "file":
        found = read_labelled(spec["path"], spec["text"], spec["label"], f"tasks.{name}", lambda line: None)["label"]
    else:
        return None
    return len(found), int(found.nunique())


def study_detectable(study: Study, constants: Mapping) -> Detectable:
    """The estimates of all tasks of a study."""
    sizes = {name: clustering_size(study, name) for name in study["tasks"]}
    tasks = {name: task_detectable(*size, constants) for name, size in sizes.items() if size}
    return Detectable(tasks, tuple(name for name, size in sizes.items() if not size))


def detectable_lines(found: Detectable) -> list[str]:
    """The plan's lines."""
    if not found.tasks:
        return ["Detectable difference: no estimate, because no clustering task is counted yet."]
    least, most = min(found.tasks.values()), max(found.tasks.values())
    several = f", and {least:.1f} to {most:.1f} on one task" if len(found.tasks) > 1 else ""
    lines = [
        f"Detectable difference: about {found.mean:.1f} points (V-measure x 100) in the mean over {len(found.tasks)} "
        f"clustering task{'s' * (len(found.tasks) > 1)}{several}: 4 of 5 studies would find it.",
        "  An estimate from documents and labels alone (fitted for 600 to 2,048 documents), for two variants named "
        "beforehand. The best of many needs more, and other seeds add their own.",
    ]
    if found.unknown:
        lines.append(f"  Not in it, for want of a count or a formula: {', '.join(found.unknown)}.")
    return lines
