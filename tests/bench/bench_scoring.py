"""What scoring costs beside its k-means: python tests/bench/bench_scoring.py [--texts 10000] [--variants 30]

Both sides cluster the same vectors: one through the scores stage (fresh task objects, looked-up vectors, tidy rows,
MTEB's own results), one by scikit-learn's k-means alone, as often as MTEB runs it. They take turns, and seconds are of
CPU, so that a busy machine does not tell them apart. The bar is a ratio of 1.3.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer
from promptpool.tasks.mteb_tasks import MAX_DRAWN
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits


def kmeans_alone(matrix: np.ndarray, clusters: int) -> None:
    draw = random.Random(42)
    for _ in range(10):
        rows = matrix[draw.choices(range(len(matrix)), k=min(MAX_DRAWN, len(matrix)))]
        MiniBatchKMeans(clusters, batch_size=512, n_init=1, init="k-means++", random_state=42).fit_predict(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("texts", 10_000), ("variants", 30), ("dim", 1024), ("labels", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, given.labels, given.texts)
    texts = [f"text {number} of topic {label}" for number, label in enumerate(labels)]
    spent: dict[str, list[float]] = {"k-means": [], "scoring": []}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        files = {key: str(Path(folder, f"{key}.parquet")) for key in ("labelled", "texts")}
        pd.DataFrame({"text": texts, "label": labels.astype(str)}).to_parquet(files["labelled"])
        pd.DataFrame({"text": texts}).to_parquet(files["texts"])
        start = time.process_time()
        scorer = Scorer(ScoredTask("bench", {"source": "file"}, **files))
        setup = time.process_time() - start
        centres = rng.standard_normal((given.labels, given.dim), dtype=np.float32)
        columns = {"model": "m", "adapter": "base", "step": 0, "prompt": "none", "pooling": "mean"}
        for layer in range(given.variants):
            matrix = centres[labels] + 2 * rng.standard_normal((given.texts, given.dim), dtype=np.float32)
            for side, work in (
                ("k-means", lambda m=matrix: kmeans_alone(m, given.labels)),
                ("scoring", lambda m=matrix, n=layer: scorer.score([({**columns, "layer": n}, "base", m)])),
            ):
                start = time.process_time()
                work()
                spent[side].append(time.process_time() - start)
    for side, seconds in spent.items():
        print(f"{side}: {median(seconds):.2f} s a variant (median), {sum(seconds):.1f} s in all")
    ratio = (sum(spent["scoring"]) + setup) / sum(spent["k-means"])
    print(f"ratio {ratio:.2f} with {setup:.2f} s of setup; {given.variants} variants of {given.texts} texts")


if __name__ == "__main__":
    main()
