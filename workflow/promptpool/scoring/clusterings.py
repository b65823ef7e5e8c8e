"""MTEB's clusterings, followed without changing them: replicates over documents, and the AMI of legacy sets.

MTEB calls a method with each subset's data, and another with the clusters that it found. Both are listened to. Which
documents it drew follows from a copy of the task's random state.
"""

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mteb.abstasks import AbsTaskClustering
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.results import TaskResult
from sklearn.metrics import adjusted_mutual_info_score

from ..statistics.documents import document_counts, of_clusters
from ..statistics.samples import RESAMPLED
from ..tasks.encoders import LookupEncoder
from ..tasks.mteb_tasks import evaluate

Observed = dict[tuple[str, str, str, str], np.ndarray]  # (split, subset, level, metric) -> [experiments or replicates]
NEAR = 1e-5  # how exactly the V-measures computed here must be MTEB's


@dataclass(frozen=True)
class Drawn:
    """The documents of a subset's clusterings, which are the same for every variant.

    labels: the drawn documents' labels as codes, and rows: their rows in `counts`; one array for each clustering.
    counts: `document_counts`.
    """

    labels: Sequence[np.ndarray]
    rows: Sequence[np.ndarray]
    counts: np.ndarray

    def replicates(self, clusters: Sequence[Sequence[int]], known: Sequence[float]) -> np.ndarray | None:
        """Replicates of the mean V-measure. known: MTEB's own; None if these can't be computed again, because then
        the documents are not those that MTEB drew.
        """
        if [len(own) for own in clusters] != [len(rows) for rows in self.rows]:
            return None
        found = of_clusters(self.labels, clusters, self.rows, self.counts)
        return found[:, 1:].mean(axis=0) if np.allclose(found[:, 0], known, atol=NEAR) else None


def of_drawn_clusterings(encoder: LookupEncoder, task: AbsTaskClustering, memory: dict) -> tuple[TaskResult, Observed]:
    """MTEB's result of a clustering task that draws its documents, and replicates of its main score.

    memory: keeps what all variants of the task share.
    """
    found, clusters, measure = {}, {}, task._evaluate_subset

    def listen(model, data, *args, hf_split, hf_subset, **kwargs):
        place = hf_split, hf_subset
        if place not in memory:
            memory[place] = _drawn(task, data, "/".join((task.metadata.name, *place)))
        scores = measure(model, data, *args, hf_split=hf_split, hf_subset=hf_subset,
                         **{**kwargs, "prediction_folder": Path("unused")})  # fmt: skip
        known = [value for level in scores["v_measures"].values() for value in level]
        values = memory[place].replicates(clusters.pop(place), known)
        if values is None:
            print(f"{task.metadata.name}: no interval, because MTEB's draws of documents can't be followed")
        elif task.metadata.main_score == "v_measure":
            found[(*place, "all", RESAMPLED)] = values
        return scores

    def keep(predictions: Mapping[str, list], *args, hf_split, hf_subset, **kwargs):
        clusters[hf_split, hf_subset] = [own for level in predictions.values() for own in level]

    task._evaluate_subset, task._save_task_predictions = listen, keep
    return evaluate(encoder, task), found


def _drawn(task: AbsTaskClustering, data: Mapping, place: str) -> Drawn:
    """What MTEB is about to draw, by the same calls of a copy of its random state."""
    state: random.Random = copy.deepcopy(task.rng_state)
    labels = [label if isinstance(label, list) else [label] for label in data[task.label_column_name]]
    wanted = task.max_document_to_embed
    if task.max_fraction_of_documents_to_embed is not None:
        wanted = int(task.max_fraction_of_documents_to_embed * len(labels))
    if wanted is not None:
        labels = [labels[row] for row in state.sample(range(len(labels)), k=min(len(labels), wanted))]
    depth = max(map(len, labels))
    depth = depth if task.max_depth is None else min(task.max_depth, depth)
    of_draws, rows_of_draws = [], []
    for level in range(depth):
        own = np.array([label[level] if len(label) > level else -1 for label in labels])
        there = np.flatnonzero([label != -1 for label in own])  # beside texts, MTEB's -1 is a text, too
        codes = np.unique(own[there], return_inverse=True)[1]
        for _ in range(task.n_clusters):
            places = np.array(state.choices(range(len(there)), k=task.max_documents_per_cluster))
            of_draws.append(codes[places])
            rows_of_draws.append(there[places])
    return Drawn(of_draws, rows_of_draws, document_counts(len(labels), place))


def of_given_sets(encoder: LookupEncoder, task: AbsTaskClusteringLegacy, memory: dict) -> tuple[TaskResult, Observed]:
    """MTEB's result of a legacy task, the AMI of its sets, and, if sets share texts, replicates of the main score.

    Sets with documents of their own show by their spread how far the score would move with other documents. What they
    share is not in that spread. A set with one label is not clustered, and counts as found, as in its V-measure.
    """
    found, clustered = {}, []
    evaluate_subset, measure = task._evaluate_subset, task._compute_metrics

    def listen(labels, clusters, *args, **kwargs):
        scores = measure(labels, clusters, *args, **kwargs)
        clustered.append((adjusted_mutual_info_score(labels, clusters), scores["v_measure"], clusters))
        return scores

    def in_place(model, sets, *args, hf_split, hf_subset, **kwargs):
        clustered.clear()
        place = hf_split, hf_subset
        if place not in memory:
            memory[place] = _shared(task, sets, "/".join((task.metadata.name, *place)))
        scores = evaluate_subset(model, sets, *args, hf_split=hf_split, hf_subset=hf_subset, **kwargs)
        mixed = [len(set(labels)) > 1 for labels in sets[task.label_column_name]]
        values = iter(clustered)
        found[(*place, "Level 0", "ami")] = np.array([next(values)[0] if several else 1.0 for several in mixed])
        if memory[place] and task.metadata.main_score == "v_measure":
            _, known, clusters = zip(*clustered, strict=True)
            own = memory[place].replicates(clusters, known)
            if own is not None:
                found[(*place, "all", RESAMPLED)] = 1 - (1 - own) * np.mean(mixed)
        return scores

    task._evaluate_subset, task._compute_metrics = in_place, listen
    return evaluate(encoder, task), found


def _shared(task: AbsTaskClusteringLegacy, sets: Mapping, place: str) -> Drawn | None:
    """The documents of sets with more than one label; None unless sets share texts."""
    pairs = zip(sets[task.input_column_name], sets[task.label_column_name], strict=True)
    kept = [(texts, labels) for texts, labels in pairs if len(set(labels)) > 1]
    rows: dict[str, int] = {}
    places = [np.array([rows.setdefault(text, len(rows)) for text in texts]) for texts, _ in kept]
    if len(rows) == sum(len(np.unique(own)) for own in places):
        return None
    labels = [np.unique(np.array(labels), return_inverse=True)[1] for _, labels in kept]
    return Drawn(labels, places, document_counts(len(rows), place))
