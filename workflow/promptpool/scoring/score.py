"""The scores stage: vectors looked up by text, scored by unmodified MTEB, as tidy rows and as MTEB's own results."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..artifacts.files import atomic_path, file_digest, sidecar_path, write_sidecar
from ..artifacts.integrity import read_sealed
from ..embedding.vector_file import read_vectors
from ..errors import PromptpoolError
from ..tasks.encoders import LookupEncoder
from ..tasks.mteb_tasks import TaskSource
from ..variants import split_adapter_id
from .baselines import inline_vectors
from .mteb_results import SCORE_COLUMNS, result_line, tidy
from .replicates import observed

Variants = Iterable[tuple[Mapping, str, np.ndarray]]  # score columns, MTEB's revision, and a matrix [n, dim]


class Scorer:
    """One task, ready for many variants: its data is loaded and its texts are indexed once."""

    def __init__(self, task: str, spec: Mapping, labelled: str, texts: str):
        self.task, self.texts = task, texts
        known = pd.read_parquet(texts, columns=["text"])["text"]
        self.rows = {text: row for row, text in enumerate(known)}
        self.source = TaskSource(task, spec, pd.read_parquet(labelled) if spec["source"] != "mteb" else None)

    def score(self, variants: Variants, total: int | None = None) -> tuple[pd.DataFrame, list[str]]:
        """Rows of SCORE_COLUMNS, and MTEB's results as lines of JSON. A matrix's rows stand in the order of the
        task's recorded texts; one is held at a time.
        """
        rows: list[dict] = []
        lines: list[str] = []
        with threadpool_limits(1):  # k-means with two threads on shared cores takes 20 times longer
            for columns, revision, matrix in tqdm(variants, total=total, desc=f"score {self.task}", unit="variant"):
                if len(matrix) != len(self.rows):
                    raise PromptpoolError(
                        f"task {self.task}: {len(matrix)} vectors for {len(self.rows)} texts of {self.texts}; remove "
                        "the embeddings and run again"
                    )
                if not np.isfinite(matrix).all():
                    raise PromptpoolError(f"task {self.task}: {mteb_name(columns)} has a vector that is not finite")
                encoder = LookupEncoder(self.rows, matrix, mteb_name(columns), revision)
                task = self.source.fresh()
                result, beyond = observed(encoder, task)
                rows += tidy(result, task.metadata.main_score, columns, self.task)
                for (split, subset, level, metric), values in beyond.items():
                    base = {**columns, "task": self.task, "split": split, "subset": subset, "level": level}
                    rows += [
                        {**base, "experiment": index, "metric": metric, "value": float(value)}
                        for index, value in enumerate(values)
                    ]
                lines.append(result_line(encoder, result, columns))
        return pd.DataFrame(rows, columns=SCORE_COLUMNS), lines


def require_same_texts(vectors: str, texts: str) -> None:
    """Raises PromptpoolError where an embeddings file was made of other texts, or of these in another order."""
    if not sidecar_path(vectors).is_file():
        return
    made_of = (read_sealed(sidecar_path(vectors)) or {}).get("inputs", {})
    if texts in made_of and made_of[texts] != file_digest(texts):
        raise PromptpoolError(f"{vectors}: made of other texts than {texts} holds now; remove it and run again")


def mteb_name(columns: Mapping) -> str:
    """A variant as MTEB names a model (after `promptpool/`); the checkpoint is its revision."""
    if columns["adapter"] == "baseline":
        return f"{columns['model']}.baseline"
    name = f"{columns['model']}.{columns['prompt']}.{columns['pooling']}.L{columns['layer']}"
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name)  # it becomes a folder's name


def score_family(
    out: str,
    results: str,
    *,
    task: str,
    spec: Mapping,
    labelled: str,
    texts: str,
    vectors: str,
    model: str,
    adapter: str,
) -> None:
    """Scores every prompt, pooling and layer of one embeddings file. adapter: `base` or `name@step`."""
    started = time.time()
    name, step = split_adapter_id(adapter)
    require_same_texts(vectors, texts)
    found = read_vectors(vectors)  # read one by one: a large task's matrices need not fit in memory together

    def variants() -> Variants:
        for key, matrix in found.items():
            columns = dict(zip(("prompt", "pooling", "layer"), key, strict=True))
            yield {"model": model, "adapter": name, "step": step, **columns}, adapter, matrix

    table, lines = Scorer(task, spec, labelled, texts).score(variants(), len(found))
    _write(out, results, table, lines, [labelled, texts, vectors], spec, started)


def score_baseline(
    out: str,
    results: str,
    *,
    task: str,
    spec: Mapping,
    labelled: str,
    texts: str,
    name: str,
    baseline: Mapping,
    vectors: str | None,
) -> None:
    """Scores one baseline of the config: rows with adapter `baseline`, prompt and pooling `none`.

    vectors: its embeddings file, for kinds that have one; several seeds of a kind become one set of rows.
    """
    started = time.time()
    columns = {"model": name, "adapter": "baseline", "step": 0, "prompt": "none", "pooling": "none", "layer": 0}
    scorer = Scorer(task, spec, labelled, texts)
    if vectors:
        require_same_texts(vectors, texts)
        draws = iter(read_vectors(vectors).values())
        count = 1
    else:
        draws = inline_vectors(list(scorer.rows), baseline)
        count = baseline.get("seeds", 1)
    frames, lines = [], []
    for seed, matrix in enumerate(tqdm(draws, total=count, desc=name, unit="draw", disable=count == 1)):
        table, own = scorer.score([(columns, f"seed-{seed}" if count > 1 else "local", matrix)], 1)
        frames.append(table)
        lines += own
    inputs = [labelled, texts, *([vectors] if vectors else [])]
    _write(out, results, average(frames), lines, inputs, {**spec, "baseline": dict(baseline)}, started)


def average(draws: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several seeds of one baseline as one set of rows: the mean value, experiment by experiment."""
    keys = SCORE_COLUMNS[:-1]
    return pd.concat(draws).groupby(keys, sort=False, as_index=False)["value"].mean()[SCORE_COLUMNS]


def _write(
    out: str,
    results: str,
    table: pd.DataFrame,
    lines: Sequence[str],
    inputs: Sequence[str],
    spec: Mapping,
    started: float,
) -> None:
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic_path(results) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_sidecar(out, inputs=inputs, spec=spec, started=started, rows=len(table))
