"""An exported model's scores as the model hub lists them (`model-index`), in the form that MTEB gives them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace

from huggingface_hub import EvalResult
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.results import TaskResult

from ..artifacts.parts import listed_files
from ..scoring.score_parts import RESULTS
from ..variants import RAW, readout_name, split_adapter_id

SOURCE = {"source_name": "MTEB", "source_url": "https://github.com/embeddings-benchmark/mteb/"}


def hub_results(manifests: Sequence[str], spec: Mapping, facts: Iterable[Mapping]) -> list[EvalResult]:
    """One entry for each task, split and subset that the variant was scored on; none if it was not.

    manifests: of its checkpoint's scores, whose files keep MTEB's own results; spec: an entry of `exports:`; facts: of
    the tasks, which say where a task's texts are from.
    """
    adapter, step = split_adapter_id(spec["adapter"])
    pooling = readout_name(spec["pooling"], spec.get("post_processing", RAW))
    wanted = {"model": spec["model"], "adapter": adapter, "step": step, "prompt": spec["prompt"], "pooling": pooling,
              "layer": spec.get("layer", -1)}  # fmt: skip
    known = {fact["mteb_name"]: fact for fact in facts}
    found = [entry for result in _results(manifests, wanted) for entry in entries(result, known[result.task_name])]
    return sorted(found, key=lambda entry: (entry.dataset_name, entry.dataset_split or ""))


def entries(result: TaskResult, fact: Mapping) -> list[EvalResult]:
    """MTEB's own entries of a result. A task that MTEB does not have, or has of other data, gets the same form."""
    try:
        data = result.task.metadata.dataset
        if data["revision"] == fact["revision"]:
            return result.get_hf_eval_results()
    except KeyError:  # a task of the study
        data = {"path": f"local/{result.task_name}"}
    return [
        EvalResult(
            task_type=TaskMetadata._hf_task_type(SimpleNamespace(type=fact["type"]))[0],
            task_name=fact["type"],
            dataset_type=data["path"],
            dataset_name=f"{result.task_name} ({entry['hf_subset']})",
            dataset_config=entry["hf_subset"],
            dataset_split=split,
            dataset_revision=fact["revision"],
            metric_type=fact["main_score"],
            metric_name=fact["main_score"],
            metric_value=entry["main_score"],
            **SOURCE,
        )
        for split, scores in result.scores.items()
        for entry in scores
    ]


def _results(manifests: Sequence[str], wanted: Mapping) -> Iterator[TaskResult]:
    for path in listed_files(manifests, RESULTS):
        with open(path, encoding="utf-8") as handle:
            for line in map(json.loads, handle):
                if line["variant"] == wanted:
                    yield TaskResult.model_validate(line["result"])
