"""Uses MTEB's predictions to add replicates to tasks that have none, and AMI to clustering that lacks it."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mteb.abstasks import AbsTask, AbsTaskClassification, AbsTaskPairClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.results import TaskResult
from sklearn.metrics import adjusted_mutual_info_score

from ..statistics.bootstrap import of_classes, of_correlation, of_pair_classes, of_queries
from ..statistics.samples import RESAMPLED
from ..tasks.encoders import LookupEncoder
from ..tasks.mteb_tasks import evaluate

CUTS = {"ndcg_at_": "ndcg_cut_", "map_at_": "map_cut_", "recall_at_": "recall_", "precision_at_": "P_",
        "hit_rate_at_": "success_"}  # fmt: skip
Observed = dict[tuple[str, str, str, str], np.ndarray]  # (split, subset, level, metric) -> [experiments]


def observed(encoder: LookupEncoder, task: AbsTask) -> tuple[TaskResult, Observed]:
    """MTEB's result, and what its predictions add: replicates of the main score (see `resampling`), and the AMI of each
    set of a legacy clustering task.

    Clustering tasks have their own experiments and get no replicates. Neither do aggregates of several tasks, nor
    tasks with a main score that `resampling` lacks.
    """
    if isinstance(task, AbsTaskClusteringLegacy):
        return _legacy_clustering(encoder, task)
    if isinstance(task, AbsTaskRetrieval):
        return _retrieval(encoder, task)
    plain = (AbsTaskSTS, AbsTaskPairClassification, AbsTaskClassification)
    own = isinstance(task, AbsTaskMultilabelClassification | AbsTaskAggregate) or getattr(
        task, "is_cross_validation", 0
    )
    if own or not isinstance(task, plain):
        return evaluate(encoder, task), {}
    with tempfile.TemporaryDirectory() as folder:
        result = evaluate(encoder, task, Path(folder))
        saved = Path(folder, task.prediction_file_name)
        predicted = json.loads(saved.read_text(encoding="utf-8")) if saved.exists() else {}
    places = [(subset, split) for subset in predicted if subset != "mteb_model_meta" for split in predicted[subset]]
    found = {}
    for subset, split in places:
        values = _of(task, _rows(task, subset, split), predicted[subset][split])
        if values is not None:
            found[split, subset, "all", RESAMPLED] = values
    return result, found


def _rows(task: AbsTask, subset: str, split: str) -> Mapping:
    data = task.dataset if subset not in task.dataset and subset == "default" else task.dataset[subset]
    return data[split]


def _of(task: AbsTask, rows: Mapping, predicted) -> np.ndarray | None:
    main = task.metadata.main_score
    if isinstance(task, AbsTaskSTS):
        return of_correlation(main, rows["score"], predicted)
    if isinstance(task, AbsTaskPairClassification):
        labels = rows[task.label_column_name]
        if len(labels) == 1 and isinstance(labels[0], list):  # MTEB's first format: all pairs in one row
            labels = labels[0]
        return of_pair_classes(main, labels, predicted)
    return of_classes(main, list(rows[task.label_column_name]), predicted)


def _legacy_clustering(encoder: LookupEncoder, task: AbsTask) -> tuple[TaskResult, Observed]:
    """Listens to the hook that MTEB calls with every set's clusters. A set with one label is not clustered, and counts
    as found, as in its V-measure.
    """
    found, clustered = {}, []
    evaluate_subset, measure = task._evaluate_subset, task._compute_metrics

    def listen(labels, clusters, *args, **kwargs):
        clustered.append(adjusted_mutual_info_score(labels, clusters))
        return measure(labels, clusters, *args, **kwargs)

    def in_place(model, sets, *args, hf_split, hf_subset, **kwargs):
        clustered.clear()
        scores = evaluate_subset(model, sets, *args, hf_split=hf_split, hf_subset=hf_subset, **kwargs)
        values = iter(clustered)
        each = [next(values) if len(set(labels)) > 1 else 1.0 for labels in sets[task.label_column_name]]
        found[hf_split, hf_subset, "Level 0", "ami"] = np.array(each)
        return scores

    task._evaluate_subset, task._compute_metrics = in_place, listen
    return evaluate(encoder, task), found


def _retrieval(encoder: LookupEncoder, task: AbsTask) -> tuple[TaskResult, Observed]:
    """Listens to the hook that MTEB calls with every query's scores, without changing what it returns."""
    name, found = task.metadata.main_score, {}
    key = next((cut + name.removeprefix(start) for start, cut in CUTS.items() if name.startswith(start)), None)
    ask = task.task_specific_scores

    def listen(scores, *args, hf_split, hf_subset, **kwargs):
        if scores and all(key in query for query in scores.values()):
            found[hf_split, hf_subset, "all", RESAMPLED] = of_queries([scores[query][key] for query in sorted(scores)])
        return ask(scores, *args, hf_split=hf_split, hf_subset=hf_subset, **kwargs)

    task.task_specific_scores = listen
    return evaluate(encoder, task), found
