"""MTEB's own result files, written from the lines that scoring kept."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mteb.results import TaskResult

from ..artifacts.files import atomic_path, write_sidecar
from ..artifacts.parts import listed_files
from .score_parts import RESULTS


def write_mteb_results(manifests: Sequence[str | Path], out: str | Path) -> None:
    """Writes MTEB's own result files below `out`, from the manifests' files with one `result_line` per line.

    `mteb.ResultCache(out).load_results()` reads them; so does `mteb.load_results` if MTEB_CACHE names `out`.
    """
    started, files = time.time(), 0
    parts = list(listed_files(manifests, RESULTS))
    with atomic_path(out) as temporary:
        (temporary / "results").mkdir(parents=True)
        for line in _lines(parts):
            meta, result = line["model_meta"], TaskResult.model_validate(line["result"])
            folder = temporary / "results" / meta["name"].replace("/", "__") / meta["revision"]
            folder.mkdir(parents=True, exist_ok=True)
            about = {**meta, "variant": line["variant"]}
            (folder / "model_meta.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            path = folder / f"{result.task_name}.json"
            if path.exists():  # two tasks of the study are parts of one MTEB task
                result = TaskResult.from_disk(path).merge(result)
            result.to_disk(path)
            files += 1
    write_sidecar(out, inputs=[*manifests, *parts], started=started, files=files)


def _lines(parts: Sequence[str | Path]) -> Iterator[dict]:
    for part in parts:
        with Path(part).open(encoding="utf-8") as handle:
            yield from map(json.loads, handle)
