"""What MTEB predicted, beside what it scored: the replicates of a score for tasks that have none of their own."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mteb.abstasks import AbsTask, AbsTaskClassification, AbsTaskPairClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.results import TaskResult

from .lookup import LookupEncoder
from .mteb_tasks import evaluate
from .resampling import of_classes, of_correlation, of_pair_classes, of_queries

CUTS = {"ndcg_at_": "ndcg_cut_", "map_at_": "map_cut_", "recall_at_": "recall_", "precision_at_": "P_",
        "hit_rate_at_": "success_"}  # fmt: skip
Replicates = dict[tuple[str, str], np.ndarray]  # (split, subset) -> [replicates]


def observed(encoder: LookupEncoder, task: AbsTask) -> tuple[TaskResult, Replicates]:
    """MTEB's result, and replicates of its main score where its predictions allow them (see `resampling`).

    Clustering tasks bring their own experiments and get none here; nor do tasks whose main score is another than
    those of `resampling`, or that are made of several tasks.
    """
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
            found[split, subset] = values
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


def _retrieval(encoder: LookupEncoder, task: AbsTask) -> tuple[TaskResult, Replicates]:
    """The hook that MTEB calls with every query's scores is listened to; what it returns stays as it is."""
    name, found = task.metadata.main_score, {}
    key = next((cut + name.removeprefix(start) for start, cut in CUTS.items() if name.startswith(start)), None)
    ask = task.task_specific_scores

    def listen(scores, *args, hf_split, hf_subset, **kwargs):
        if scores and all(key in query for query in scores.values()):
            found[hf_split, hf_subset] = of_queries([scores[query][key] for query in sorted(scores)])
        return ask(scores, *args, hf_split=hf_split, hf_subset=hf_subset, **kwargs)

    task.task_specific_scores = listen
    return evaluate(encoder, task), found
