"""Uses what MTEB predicts to add replicates of the main score over documents, pairs or queries."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mteb._evaluators.retrieval_metrics import mrr
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.results import TaskResult

from ..statistics.bootstrap import of_classes, of_correlation, of_pair_classes, of_queries
from ..statistics.samples import RESAMPLED
from ..tasks.encoders import LookupEncoder
from ..tasks.mteb_tasks import evaluate
from .clusterings import Observed, of_drawn_clusterings, of_given_sets

MRR = "mrr_at_"
CUTS = {"ndcg_at_": "ndcg_cut_", "map_at_": "map_cut_", "recall_at_": "recall_", "precision_at_": "P_",
        "hit_rate_at_": "success_"}  # fmt: skip


def observed(encoder: LookupEncoder, task: AbsTask, memory: dict | None = None) -> tuple[TaskResult, Observed]:
    """MTEB's result, and what its predictions add: replicates of the main score, and the AMI of each set of a legacy
    clustering task.

    memory: one dict for all variants of a task, which keeps what they share. Aggregates of several tasks get no
    replicates, nor do tasks with a main score that `statistics.bootstrap` lacks.
    """
    memory = {} if memory is None else memory
    if isinstance(task, AbsTaskClustering):
        return of_drawn_clusterings(encoder, task, memory)
    if isinstance(task, AbsTaskClusteringLegacy):
        return of_given_sets(encoder, task, memory)
    if isinstance(task, AbsTaskRetrieval):
        return _retrieval(encoder, task)
    plain = (AbsTaskSTS, AbsTaskPairClassification, AbsTaskClassification)
    own = isinstance(task, AbsTaskMultilabelClassification | AbsTaskAggregate) or getattr(
        task, "is_cross_validation", 0
    )
    if own or not isinstance(task, plain):
        return evaluate(encoder, task), {}
    predicted, found = {}, {}

    def keep(predictions, *args, hf_split, hf_subset, **kwargs):
        predicted[hf_split, hf_subset] = predictions

    task._save_task_predictions = keep  # instead of a file of JSON
    result = evaluate(encoder, task, Path("unused"))
    for (split, subset), predictions in predicted.items():
        values = _of(task, _rows(task, subset, split), predictions)
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


def _retrieval(encoder: LookupEncoder, task: AbsTask) -> tuple[TaskResult, Observed]:
    """Listens to the hook that MTEB calls with every query's scores, without changing what it returns."""
    name, found = task.metadata.main_score, {}
    key = next((cut + name.removeprefix(start) for start, cut in CUTS.items() if name.startswith(start)), None)
    ask, dropped = task.task_specific_scores, task.ignore_identical_ids or task.skip_first_result

    def listen(scores, qrels, results, hf_split, hf_subset, **kwargs):
        if name.startswith(MRR) and results and not dropped:  # of single queries, MTEB hands over no ranks
            in_order = {query: results[query] for query in sorted(results)}
            (own,) = mrr(qrels, in_order, [int(name.removeprefix(MRR))]).values()
            found[hf_split, hf_subset, "all", RESAMPLED] = of_queries(own)
        elif scores and all(key in query for query in scores.values()):
            found[hf_split, hf_subset, "all", RESAMPLED] = of_queries([scores[query][key] for query in sorted(scores)])
        return ask(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset, **kwargs)

    task.task_specific_scores = listen
    return evaluate(encoder, task), found
