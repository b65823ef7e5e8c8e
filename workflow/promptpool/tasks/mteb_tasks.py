"""Unmodified MTEB tasks, and our own tasks over labelled files, with a fresh object for every variant."""

import copy
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import encoders as lookup  # noqa: F401  (turns off the bars of `datasets` before mteb is imported)

# isort: split
import mteb
import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskClassification, AbsTaskClustering
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.results import TaskResult

from ..errors import PromptpoolError
from ..hub.snapshots import snapshots
from .absent_models import absent_models
from .datasets import read_from
from .encoders import LookupEncoder, RecordingEncoder
from .retrieval_task import NDCG, SEARCHES, retrieval_task

MAX_DRAWN = 16_384  # MTEB's own size of one clustering experiment
BATCH = 1024  # texts per call of MTEB; does not affect scores


def local_task(name: str, labelled: pd.DataFrame, description: str = "") -> AbsTaskClustering:
    """A fresh MTEB clustering task over a table of `text` and `label`.

    Every document is embedded (MTEB's default embeds 4 %). Each of the ten experiments draws as many documents as
    there are, with replacement: the plain bootstrap, at most MTEB's 16,384.
    """

    class LocalClustering(AbsTaskClustering):
        metadata = TaskMetadata(
            name=name,
            description=description or f"{name}: clustering of a local labelled file",
            dataset={"path": f"local/{name}", "revision": "local"},
            type="Clustering",
            category="t2c",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="v_measure",
        )
        max_fraction_of_documents_to_embed = None
        max_documents_per_cluster = min(MAX_DRAWN, len(labelled))

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            columns = {"sentences": labelled["text"].tolist(), "labels": labelled["label"].tolist()}
            self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
            self.data_loaded = True

    return LocalClustering()


def fresh_task(name: str, spec: Mapping, labelled: pd.DataFrame | None) -> AbsTask:
    """A task object that no variant has used, its data not yet loaded.

    spec: a task of the config. One of source mteb may hold `subsets` and `splits`, fewer than all. Raises
    PromptpoolError for one that the task does not have.
    """
    if spec.get("source") in SEARCHES:
        return retrieval_task(name, labelled, spec.get("measure", NDCG))
    if labelled is not None:
        return local_task(name, labelled)
    about = mteb.get_task(spec["name"]).metadata
    for key, known in (("splits", about.eval_splits), ("subsets", about.hf_subsets)):
        for wanted in spec.get(key) or ():
            if wanted not in known:
                raise PromptpoolError(
                    f"tasks.{name}.{key}: {spec['name']} has no {wanted!r}; use one of {', '.join(map(str, known))}"
                )
    task = mteb.get_task(spec["name"], hf_subsets=spec.get("subsets"), eval_splits=spec.get("splits"))
    # In the workflow every such task has a snapshot; elsewhere MTEB finds its own data.
    return read_from(task, snapshots(spec), spec["revision"]) if spec.get("snapshot") else task


class TaskSource:
    """One task's data, loaded once, and fresh task objects over it.

    MTEB tasks keep a random state, so an object that has scored one variant draws other documents for the next.
    `fresh` returns an object in exactly the state of a new one that has just loaded its data.
    """

    def __init__(self, name: str, spec: Mapping, labelled: pd.DataFrame | None):
        self._make = lambda: fresh_task(name, spec, labelled)
        self._loaded = _Loaded(self._make())

    def fresh(self) -> AbsTask:
        return self._loaded.onto(self._make())


class _Loaded:
    def __init__(self, task: AbsTask):
        self.parts = [_Loaded(_like(part)) for part in task.tasks] if isinstance(task, AbsTaskAggregate) else []
        if not self.parts:
            task.load_data()
        self.task = task
        self.global_states = random.getstate(), np.random.get_state()  # some tasks draw from these

    def onto(self, task: AbsTask) -> AbsTask:
        """`task`, newly created, with this one's data and random states."""
        if self.parts:
            parts = [part.onto(type(part.task)()) for part in self.parts]
            task.metadata = task.metadata.model_copy(update={"tasks": parts})
            task.tasks = parts
            return task
        for key, value in self.task.__dict__.items():
            task.__dict__[key] = copy.deepcopy(value) if key in ("rng_state", "np_rng") else _shallow(value)
        random.setstate(self.global_states[0])
        np.random.set_state(self.global_states[1])
        return task


def _like(part: AbsTask) -> AbsTask:
    """A new task that reads the same data. All objects of an aggregate's class share its parts."""
    made = type(part)()
    made.metadata = part.metadata
    return made


class ListedColumns(Dataset):
    """A data set that returns a column as a list, as `datasets` did before version 4.

    MTEB reads whole columns. A lazy column is then read row by row, which takes a third of a variant's k-means time.
    """

    @classmethod
    def of(cls, data: Dataset) -> "ListedColumns":
        """The same rows, not copied."""
        return cls(data._data, data.info, data.split, data._indices, data._fingerprint)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return found[:] if isinstance(key, str) else found

    def select(self, *args: Any, **kwargs: Any) -> Dataset:
        return self.of(super().select(*args, **kwargs))


def _shallow(value: Any) -> Any:
    """Copies the containers, so that a task may rearrange them, and shares the data in them."""
    if type(value) is Dataset and value.format["type"] is None:
        return ListedColumns.of(value)
    if isinstance(value, dict) and any(isinstance(item, dict | Dataset) for item in value.values()):
        made = type(value)() if isinstance(value, DatasetDict) else {}
        made.update({key: _shallow(item) for key, item in value.items()})
        return made
    return value


def evaluate(encoder: LookupEncoder, task: AbsTask, predictions: Path | None = None) -> TaskResult:
    """MTEB's own result of one encoder on one task. predictions: a folder where MTEB saves its predictions."""
    with absent_models():
        results = mteb.evaluate(
            encoder,
            task,
            co2_tracker=False,
            cache=None,
            show_progress_bar=False,
            encode_kwargs={"batch_size": BATCH, "show_progress_bar": False},
            prediction_folder=predictions,
        )
    (result,) = results.task_results
    if not isinstance(result, TaskResult) or not result.scores:
        raise PromptpoolError(f"task {task.metadata.name}: MTEB returned no score; see the job's log")
    return result


def facts_of(task: AbsTask, recorder: RecordingEncoder) -> dict:
    """The facts about a task that statistics need (see `statistics.estimates.Sample`) and that readers want.

    experiments: `bootstrap` if each draws new documents with replacement; `sets` if each has its own documents;
    `none` if they say nothing about other documents, as in a classification task, whose experiments fit again and
    are scored on the same texts.
    """
    meta = task.metadata
    facts = {
        "mteb_name": meta.name,
        "type": meta.type,
        "main_score": meta.main_score,
        "revision": meta.revision,
        "texts": len(recorder.texts),
        "asked": sum(recorder.asked.values()),
        "experiments": "none",
    }
    if isinstance(task, AbsTaskClustering):
        facts |= {"experiments": "bootstrap", "draws": task.max_documents_per_cluster, "documents": recorder.asked}
    elif isinstance(task, AbsTaskClusteringLegacy) or (
        isinstance(task, AbsTaskClassification) and task.is_cross_validation
    ):
        facts["experiments"] = "sets"
    return facts
