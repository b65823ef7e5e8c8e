"""The scores stage: vectors looked up by text, scored by unmodified MTEB, as tidy rows."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .artifacts import atomic_path, write_sidecar
from .baselines import baseline_vectors
from .embedding import read_vectors
from .mteb_tasks import SCORE_COLUMNS, LookupEncoder, evaluate, fresh_task, tidy


def score_variants(
    name: str,
    spec: Mapping,
    labelled: str,
    texts: str,
    variants: Mapping[str, np.ndarray],
    columns: Mapping[str, Mapping],
) -> pd.DataFrame:
    """Rows of SCORE_COLUMNS for matrices [n, dim] over the task's recorded texts, in their order."""
    known = pd.read_parquet(texts)["text"].tolist()
    table = pd.read_parquet(labelled) if spec["source"] != "mteb" else None
    rows: list[dict] = []
    with threadpool_limits(1):  # k-means with two threads on shared cores takes 20 times longer
        for key, matrix in tqdm(variants.items(), desc=f"score {name}", unit="variant"):
            encoder = LookupEncoder(dict(zip(known, matrix, strict=True)), key.replace("/", "-"))
            rows += tidy(evaluate(encoder, fresh_task(name, spec, table)), columns[key], name)
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def score_family(
    out: str, *, task: str, spec: Mapping, labelled: str, texts: str, vectors: str, model: str, adapter: str
) -> None:
    """Scores every prompt/pooling/layer of one embeddings file. adapter: `base` or `name@step`."""
    started = time.time()
    adapter, _, step = adapter.partition("@")
    variants = read_vectors(vectors)
    columns = {}
    for key in variants:
        prompt, pooling, layer = key.split("/")
        columns[key] = {"model": model, "adapter": adapter, "step": int(step or 0)}
        columns[key] |= {"prompt": prompt, "pooling": pooling, "layer": int(layer)}
    table = score_variants(task, spec, labelled, texts, variants, columns)
    _write(out, table, [labelled, texts, vectors], spec, started)


def score_baselines(out: str, *, task: str, spec: Mapping, labelled: str, texts: str, baselines: Mapping) -> None:
    """Scores the baselines of the config: rows with adapter `baseline`, prompt and pooling `none`."""
    started = time.time()
    known = pd.read_parquet(texts)["text"].tolist()
    frames = []
    for name, settings in sorted(baselines.items()):
        draws = list(baseline_vectors(known, settings))
        column = {"model": name, "adapter": "baseline", "step": 0, "prompt": "none", "pooling": "none", "layer": 0}
        scored = [score_variants(task, spec, labelled, texts, {name: draw}, {name: column}) for draw in draws]
        frames.append(average(scored))
    _write(out, pd.concat(frames, ignore_index=True), [labelled, texts], {**spec, "baselines": baselines}, started)


def average(draws: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several seeds of one baseline as one set of rows: the mean value, experiment by experiment."""
    keys = SCORE_COLUMNS[:-1]
    return pd.concat(draws).groupby(keys, sort=False, as_index=False)["value"].mean()[SCORE_COLUMNS]


def _write(out: str, table: pd.DataFrame, inputs: Sequence[str], spec: Mapping, started: float) -> None:
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    write_sidecar(out, inputs=inputs, spec=spec, started=started, rows=len(table))
