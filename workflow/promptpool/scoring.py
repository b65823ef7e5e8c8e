"""The scores stage: vectors looked up by text, scored by unmodified MTEB, as tidy rows."""

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .artifacts import atomic_path, write_sidecar
from .baselines import baseline_vectors
from .config_adapters import split_adapter_id
from .mteb_tasks import SCORE_COLUMNS, LookupEncoder, evaluate, fresh_task, tidy
from .vectors import read_vectors

Variants = Iterable[tuple[Mapping, np.ndarray]]  # the score columns of a variant, and its matrix [n, dim]


def score_variants(
    task: str, spec: Mapping, labelled: str, texts: str, variants: Variants, count: int | None = None
) -> pd.DataFrame:
    """Rows of SCORE_COLUMNS. A matrix's rows stand in the order of the task's recorded texts; count: of variants."""
    known = pd.read_parquet(texts)["text"].tolist()
    table = pd.read_parquet(labelled) if spec["source"] != "mteb" else None
    rows: list[dict] = []
    with threadpool_limits(1):  # k-means with two threads on shared cores takes 20 times longer
        for columns, matrix in tqdm(variants, desc=f"score {task}", unit="variant", total=count):
            name = "-".join(map(str, columns.values()))
            encoder = LookupEncoder(dict(zip(known, matrix, strict=True)), name)
            rows += tidy(evaluate(encoder, fresh_task(task, spec, table)), columns, task)
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def score_family(
    out: str, *, task: str, spec: Mapping, labelled: str, texts: str, vectors: str, model: str, adapter: str
) -> None:
    """Scores every prompt, pooling and layer of one embeddings file. adapter: `base` or `name@step`."""
    started = time.time()
    name, step = split_adapter_id(adapter)
    state = {"model": model, "adapter": name, "step": step}
    found = read_vectors(vectors)  # read one by one: a large task's matrices need not fit in memory together
    columns = ({**state, "prompt": prompt, "pooling": pooling, "layer": layer} for prompt, pooling, layer in found)
    table = score_variants(task, spec, labelled, texts, zip(columns, found.values(), strict=True), len(found))
    _write(out, table, [labelled, texts, vectors], spec, started)


def score_baselines(out: str, *, task: str, spec: Mapping, labelled: str, texts: str, baselines: Mapping) -> None:
    """Scores the baselines of the config: rows with adapter `baseline`, prompt and pooling `none`."""
    started = time.time()
    known = pd.read_parquet(texts)["text"].tolist()
    frames = []
    for name, settings in sorted(baselines.items()):
        columns = {"model": name, "adapter": "baseline", "step": 0, "prompt": "none", "pooling": "none", "layer": 0}
        draws = baseline_vectors(known, settings)
        frames.append(average([score_variants(task, spec, labelled, texts, [(columns, draw)]) for draw in draws]))
    _write(out, pd.concat(frames, ignore_index=True), [labelled, texts], {**spec, "baselines": baselines}, started)


def average(draws: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several seeds of one baseline as one set of rows: the mean value, experiment by experiment."""
    keys = SCORE_COLUMNS[:-1]
    return pd.concat(draws).groupby(keys, sort=False, as_index=False)["value"].mean()[SCORE_COLUMNS]


def _write(out: str, table: pd.DataFrame, inputs: Sequence[str], spec: Mapping, started: float) -> None:
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    write_sidecar(out, inputs=inputs, spec=spec, started=started, rows=len(table))
