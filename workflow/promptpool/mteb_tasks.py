"""Real, unmodified MTEB: tasks over local labelled files, an encoder that looks vectors up, tidy rows."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any

# Importing mteb creates its cache folder; nothing of ours is kept there.
os.environ.setdefault("MTEB_CACHE", os.path.join(tempfile.gettempdir(), "promptpool-mteb"))

import mteb
import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClustering
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta

from .errors import PromptpoolError
from .hub import snapshots
from .mteb_data import read_from

SCORE_COLUMNS = [
    "model", "adapter", "step", "prompt", "pooling", "layer",
    "task", "split", "subset", "level", "experiment", "metric", "value",
]  # fmt: skip
MAX_DRAWN = 16_384  # MTEB's own size of one clustering experiment


def local_task(name: str, labelled: pd.DataFrame, description: str = "") -> AbsTaskClustering:
    """A fresh MTEB clustering task over a table of `text` and `label`.

    Every document is embedded (MTEB's default takes 4 %), and each of the ten experiments draws as many
    documents as there are, with replacement: the plain bootstrap, at most MTEB's 16,384.
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


def fresh_task(name: str, spec: Mapping, labelled: pd.DataFrame | None):
    """A task object no variant has used: MTEB tasks keep a random state, and paired scores need the same one."""
    if labelled is not None:
        return local_task(name, labelled)
    (task,) = mteb.get_tasks(tasks=[spec["name"]])
    return read_from(task, snapshots(spec), spec["revision"])


class LookupEncoder:
    """Stands in for a model: answers MTEB with vectors that were computed before, by text."""

    def __init__(self, vectors: Mapping[str, np.ndarray], name: str):
        self.vectors = vectors
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": f"promptpool/{name}", "revision": "local"})

    def encode(self, inputs, *, task_metadata=None, hf_split=None, hf_subset=None, prompt_type=None, **_) -> np.ndarray:
        """float32 [n, dim]. Raises PromptpoolError for a text that was never recorded."""
        rows = []
        for batch in inputs:
            for text in batch["text"]:
                if text not in self.vectors:
                    raise PromptpoolError(
                        f"task {task_metadata.name}: no vector for {text[:60]!r}; its recorded texts are stale, "
                        f"delete the task's texts.parquet and run again"
                    )
                rows.append(self.vectors[text])
        return np.asarray(rows, dtype=np.float32)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
        return a @ b.T

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
        return (a * b).sum(-1)


class RecordingEncoder(LookupEncoder):
    """Writes down what MTEB asks for, and answers with seeded noise."""

    def __init__(self, dim: int = 8):
        super().__init__({}, "recorder")
        self.dim = dim
        self.texts: dict[str, None] = {}

    def encode(self, inputs, **_) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        self.texts.update(dict.fromkeys(texts))
        return np.random.default_rng(0).standard_normal((len(texts), self.dim)).astype(np.float32)


def evaluate(encoder: LookupEncoder, task) -> list[dict]:
    """MTEB's scores of one encoder on one task, a dict per (split, subset)."""
    results = mteb.evaluate(encoder, task, co2_tracker=False, cache=None, show_progress_bar=False)
    (result,) = results.task_results
    return [{"split": split, **subset} for split, subsets in result.scores.items() for subset in subsets]


def tidy(scores: list[dict], variant: Mapping, task: str) -> list[dict]:
    """MTEB's scores as rows of SCORE_COLUMNS: one per metric, level and experiment.

    variant: the columns model, adapter, step, prompt, pooling, layer. A metric without experiments is one
    row with experiment 0 and level "all".
    """
    rows = []
    for entry in scores:
        base = {**variant, "task": task, "split": entry["split"], "subset": entry["hf_subset"]}
        for metric, key in (("v_measure", "v_measures"), ("ami", "ami_scores")):
            values = entry.get(key)
            if values is None:
                continue
            levels = values if isinstance(values, dict) else {"Level 0": values}
            for level, numbers in levels.items():
                rows += [
                    {**base, "level": level, "experiment": index, "metric": metric, "value": float(number)}
                    for index, number in enumerate(numbers)
                ]
        main = {**base, "level": "all", "experiment": 0, "metric": "main_score"}
        rows.append({**main, "value": float(entry["main_score"])})
    return rows
