"""MTEB's results as our tidy rows, and as lines from which write_mteb_results makes MTEB's own files."""

import json
from collections.abc import Mapping

import numpy as np
from mteb.results import TaskResult

from ..statistics.samples import MAIN, REPLICATE_COLUMN, RESAMPLED, VARIANT
from ..tasks.encoders import LookupEncoder

SCORE_COLUMNS = [*VARIANT, "task", "split", "subset", "level", "experiment", "metric", "value",
                 REPLICATE_COLUMN]  # fmt: skip
OF_SEARCH = ("ndcg_at_10", "recall_at_1", "recall_at_10", "recall_at_100", "mrr_at_10")  # one number each
BY_LEVEL = {"v_measure": "v_measures", "ami": "ami_scores"}  # metric -> MTEB's key of its experiments


def tidy_rows(result: TaskResult, main: str, variant: Mapping, task: str) -> list[dict]:
    """MTEB's scores as rows of SCORE_COLUMNS: one per metric, level and experiment.

    main: the task's main metric. variant: the columns model, adapter, step, prompt, pooling, layer. The main metric
    appears twice, under its own name and as `main_score`. Retrieval tasks add OF_SEARCH. If MTEB has no experiments, a
    metric is one row with experiment 0 and level "all".
    """
    rows = []
    for split, entries in result.scores.items():
        for entry in entries:
            base = {**variant, "task": task, "split": split, "subset": entry["hf_subset"]}
            found = _experiments(entry)
            found.setdefault(main, [("all", [entry["main_score"]])])
            for metric, levels in [*found.items(), (MAIN, found[main])]:
                rows += [
                    {**base, "level": level, "experiment": index, "metric": metric, "value": float(number)}
                    for level, numbers in levels
                    for index, number in enumerate(numbers)
                    if number is not None
                ]
    return rows


def beyond_rows(base: Mapping, values: np.ndarray) -> list[dict]:
    """What `observed` adds as rows of SCORE_COLUMNS: an experiment a row, but all replicates of a score in one row,
    whose value is their mean. base: the other columns.
    """
    if base["metric"] == RESAMPLED:
        mean = float(values.mean())
        return [{**base, "experiment": 0, "value": mean, REPLICATE_COLUMN: values.astype(np.float32)}]
    return [{**base, "experiment": index, "value": float(value)} for index, value in enumerate(values)]


def _experiments(entry: Mapping) -> dict[str, list[tuple[str, list]]]:
    """Metric -> (level, values by experiment)."""
    found = {}
    for metric, key in BY_LEVEL.items():
        values = entry.get(key)
        if values is not None:
            found[metric] = list(values.items()) if isinstance(values, dict) else [("Level 0", values)]
    runs = entry.get("scores_per_experiment") or []
    for metric in runs[0] if runs else ():
        if any(run[metric] is not None for run in runs):
            found[metric] = [("all", [run[metric] for run in runs])]
    for metric in OF_SEARCH:
        if metric in entry and metric not in found:
            found[metric] = [("all", [entry[metric]])]
    return found


def result_line(encoder: LookupEncoder, result: TaskResult, variant: Mapping) -> str:
    """One variant's result on one task as a line of JSON: MTEB's name for the model, our columns, MTEB's result."""
    meta = json.loads(json.dumps(encoder.mteb_model_meta.to_dict(), default=str))
    return json.dumps({"model_meta": meta, "variant": dict(variant), "result": result.model_dump(mode="json")})
