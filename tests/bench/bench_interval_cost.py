"""What intervals cost while scoring: python tests/bench/bench_interval_cost.py [--variants 8] [--only demo]

Both sides score the same vectors on a clustering task: MTEB alone (`evaluate`), and with the replicates that intervals
need (`observed`). They take turns, and seconds are of CPU, so that a busy machine does not favour one. What all
variants share (the counts of the draws) is made by the first variant and is counted. The bar is a ratio of 1.15.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from promptpool.scoring.replicates import observed
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer
from promptpool.tasks.encoders import LookupEncoder
from promptpool.tasks.mteb_tasks import evaluate
from threadpoolctl import threadpool_limits

BAR = 1.15
CASES = {  # texts, labels, dimensions
    "as a task of the demo": (1_148, 41, 256),
    "few labels, small vectors": (1_000, 10, 128),
    "a large task of a real model": (10_000, 50, 1024),
}


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(folder: Path, texts: int, count: int, dim: int, variants: int) -> dict[str, list[float]]:
    """CPU seconds of each variant, by side."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, count, texts)
    lines = [f"text {number} of topic {label}" for number, label in enumerate(labels)]
    files = {key: str(folder / f"{key}.parquet") for key in ("labelled", "texts")}
    pd.DataFrame({"text": lines, "label": labels.astype(str)}).to_parquet(files["labelled"])
    pd.DataFrame({"text": lines}).to_parquet(files["texts"])
    scorer = Scorer(ScoredTask("bench", {"source": "file"}, **files))
    centres = rng.standard_normal((count, dim), dtype=np.float32)
    spent: dict[str, list[float]] = {"MTEB alone": [], "with replicates": []}
    memory: dict = {}
    for variant in range(-1, variants):
        matrix = centres[labels] + 3 * rng.standard_normal((texts, dim), dtype=np.float32)
        encoder = LookupEncoder(scorer.rows, matrix, f"v{variant}", "base")
        if variant < 0:  # imports and caches of the first call
            evaluate(encoder, scorer.source.fresh())
            continue
        sides = [
            ("MTEB alone", lambda e=encoder: evaluate(e, scorer.source.fresh())),
            ("with replicates", lambda e=encoder: observed(e, scorer.source.fresh(), memory)),
        ]
        for side, work in sides if variant % 2 else reversed(sides):
            spent[side].append(seconds(work))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    given = parser.parse_args()
    print("| case | texts, labels, dimensions | MTEB alone, s | with replicates, s | ratio |\n" + "| --- " * 5 + "|")
    for name, (texts, count, dim) in CASES.items():
        if given.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
            spent = measure(Path(folder), texts, count, dim, given.variants)
        alone, both = (sum(times) for times in spent.values())
        row = f"| {name} | {texts:,}, {count}, {dim} | {alone:.2f} | {both:.2f} | {both / alone:.2f} |"
        print(row + ("" if both / alone <= BAR else f" above {BAR}"), flush=True)


if __name__ == "__main__":
    main()
