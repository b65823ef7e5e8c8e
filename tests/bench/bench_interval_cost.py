"""What intervals cost while scoring: python tests/bench/bench_interval_cost.py [--variants 8] [--only STS]

Both sides score the same vectors: MTEB alone (`evaluate`), and with the replicates that intervals need (`observed`).
They take turns, and seconds are of CPU, so that a busy machine does not favour one. What all variants share (the counts
of the draws) is made by the first variant and is counted. The bar is a ratio of 1.15.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from promptpool.scoring.replicates import observed
from promptpool.tasks.encoders import LookupEncoder  # sets MTEB_CACHE before mteb is imported
from promptpool.tasks.mteb_tasks import TaskSource, evaluate

# isort: split
import mteb
from datasets import Dataset, DatasetDict
from threadpoolctl import threadpool_limits

BAR = 1.15
Case = tuple[TaskSource, list[str], np.ndarray | None]  # a task, its texts, and labels that the vectors follow


def clustering(texts: int, labels: int) -> Case:
    """A labelled file."""
    truth = np.random.default_rng(0).integers(0, labels, texts)
    lines = [f"text {number}" for number in range(texts)]
    table = pd.DataFrame({"text": lines, "label": truth.astype(str)})
    return TaskSource("bench", {"source": "file"}, table), lines, truth


def of_mteb(name: str, splits: dict[str, dict[str, list]]) -> Case:
    """MTEB's task of that name over made-up data: nothing but the download is replaced."""
    data = DatasetDict({split: Dataset.from_dict(columns) for split, columns in splits.items()})

    def load_data(self, num_proc=None, **_):
        self.dataset, self.data_loaded = data, True

    type(mteb.get_task(name)).load_data = load_data
    cells = [cell for columns in splits.values() for key, column in columns.items() if "label" not in key
             and key != "score" for cell in column]  # fmt: skip
    texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]
    return TaskSource(name, {"source": "mteb", "name": name, "revision": None}, None), texts, None


def sides(count: int) -> list[list[str]]:
    return [[f"{side} {number}" for number in range(count)] for side in ("a", "b")]


def sts(pairs: int = 1_379) -> Case:
    (one, two), marks = sides(pairs), np.random.default_rng(0).uniform(0, 5, pairs).tolist()
    return of_mteb("STSBenchmark", {"test": {"sentence1": one, "sentence2": two, "score": marks}})


def pair_classes(pairs: int = 1_000) -> Case:
    (one, two), same = sides(pairs), np.random.default_rng(0).integers(0, 2, pairs).tolist()
    return of_mteb("SprintDuplicateQuestions", {"test": {"sentence1": [one], "sentence2": [two], "labels": [same]}})


def classification(texts: int = 3_000, labels: int = 77) -> Case:
    truth = np.random.default_rng(0).integers(0, labels, texts).tolist()
    splits = zip(("train", "test"), sides(texts), strict=True)
    return of_mteb("Banking77Classification", {split: {"text": own, "label": truth} for split, own in splits})


CASES: dict[str, tuple[Callable[[], Case], int]] = {  # a case, and the size of its vectors
    "clustering, 1,148 texts, 41 labels (as in the demo)": (lambda: clustering(1_148, 41), 256),
    "clustering, 1,000 texts, 10 labels": (lambda: clustering(1_000, 10), 128),
    "clustering, 10,000 texts, 50 labels": (lambda: clustering(10_000, 50), 1024),
    "classification, 3,000 test texts, 77 labels": (classification, 768),
    "pair classification, 1,000 pairs": (pair_classes, 768),
    "STS, 1,379 pairs": (sts, 768),
}


def measure(case: Case, dim: int, variants: int) -> dict[str, float]:
    """CPU seconds of all variants, by side."""
    source, texts, labels = case
    rng = np.random.default_rng(1)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    centres = rng.standard_normal((labels.max() + 1, dim), dtype=np.float32)[labels] if labels is not None else 0
    spent, memory = {"alone": 0.0, "with": 0.0}, {}
    for variant in range(-1, variants):
        matrix = centres + 3 * rng.standard_normal((len(rows), dim), dtype=np.float32)
        encoder = LookupEncoder(rows, matrix, f"v{variant}", "base")
        works = {
            "alone": lambda e=encoder: evaluate(e, source.fresh()),
            "with": lambda e=encoder: observed(e, source.fresh(), memory),
        }
        if variant < 0:  # imports and caches of the first call
            works["alone"]()
            continue
        for side in sorted(works, reverse=bool(variant % 2)):
            start = time.process_time()
            works[side]()
            spent[side] += time.process_time() - start
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    given = parser.parse_args()
    print("| case | MTEB alone, s a variant | with replicates | ratio |\n" + "| --- " * 4 + "|")
    for name, (case, dim) in CASES.items():
        if given.only not in name:
            continue
        with threadpool_limits(1):
            spent = measure(case(), dim, given.variants)
        ratio = spent["with"] / spent["alone"]
        alone, both = (spent[side] / given.variants for side in ("alone", "with"))
        above = "" if ratio <= BAR else f" above {BAR}"
        print(f"| {name} | {alone:.3f} | {both:.3f} | {ratio:.2f} |{above}", flush=True)


if __name__ == "__main__":
    main()
