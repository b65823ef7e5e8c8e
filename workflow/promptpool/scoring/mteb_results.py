"""MTEB's results: as our tidy rows, and as the files that MTEB itself reads back."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mteb.results import TaskResult

from ..artifacts.files import atomic_path, write_sidecar
from ..tasks.encoders import LookupEncoder

SCORE_COLUMNS = [
    "model", "adapter", "step", "prompt", "pooling", "layer",
    "task", "split", "subset", "level", "experiment", "metric", "value",
]  # fmt: skip
BY_LEVEL = {"v_measure": "v_measures", "ami": "ami_scores"}  # metric -> MTEB's key of its experiments


def tidy(result: TaskResult, main: str, variant: Mapping, task: str) -> list[dict]:
    """MTEB's scores as rows of SCORE_COLUMNS: one per metric, level and experiment.

    main: the task's main metric. variant: the columns model, adapter, step, prompt, pooling, layer. The main metric
    stands twice, under its own name and as `main_score`; where MTEB has no experiments a metric is one row with
    experiment 0 and level "all".
    """
    rows = []
    for split, entries in result.scores.items():
        for entry in entries:
            base = {**variant, "task": task, "split": split, "subset": entry["hf_subset"]}
            found = _experiments(entry)
            found.setdefault(main, [("all", [entry["main_score"]])])
            for metric, levels in [*found.items(), ("main_score", found[main])]:
                rows += [
                    {**base, "level": level, "experiment": index, "metric": metric, "value": float(number)}
                    for level, numbers in levels
                    for index, number in enumerate(numbers)
                    if number is not None
                ]
    return rows


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
    return found


def result_line(encoder: LookupEncoder, result: TaskResult, variant: Mapping) -> str:
    """One variant's result on one task as a line of JSON: how MTEB names the model, our columns, MTEB's result."""
    meta = json.loads(json.dumps(encoder.mteb_model_meta.to_dict(), default=str))
    return json.dumps({"model_meta": meta, "variant": dict(variant), "result": result.model_dump(mode="json")})


def write_layout(parts: Sequence[str | Path], out: str | Path) -> None:
    """Writes MTEB's own result files below `out`, from parts of one `result_line` a line.

    `mteb.ResultCache(out).load_results()` reads them, and so does `mteb.load_results` where MTEB_CACHE names `out`.
    """
    started, files = time.time(), 0
    with atomic_path(out) as temporary:
        (temporary / "results").mkdir(parents=True)
        for line in _lines(parts):
            meta, result = line["model_meta"], TaskResult.model_validate(line["result"])
            folder = temporary / "results" / meta["name"].replace("/", "__") / meta["revision"]
            folder.mkdir(parents=True, exist_ok=True)
            about = {**meta, "variant": line["variant"]}
            (folder / "model_meta.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            path = folder / f"{result.task_name}.json"
            if path.exists():  # two tasks of the study are parts of one of MTEB's
                result = TaskResult.from_disk(path).merge(result)
            result.to_disk(path)
            files += 1
    write_sidecar(out, inputs=parts, started=started, files=files)


def _lines(parts: Sequence[str | Path]) -> Iterator[dict]:
    for part in parts:
        with Path(part).open(encoding="utf-8") as handle:
            yield from map(json.loads, handle)
