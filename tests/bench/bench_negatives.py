"""Choosing hard negatives: seconds, peak memory, and how many pairs get one, by the bounds.

    python tests/bench/bench_negatives.py [--texts 20000] [--count 3]

The pairs are a docstring's first half and its rest (style `halves`), of the packages that promptpool installs. Reading
them is not measured. Contamination is looked for among 2,000 other docstrings. Prints JSON.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import pandas as pd
from promptpool.data.docstrings import read_docstrings
from promptpool.pairs.augmentation import halves
from promptpool.pairs.choose_negatives import choose_negatives

PACKAGES = ["scipy", "sklearn", "numpy", "pandas", "torch", "sympy", "matplotlib", "networkx"]
TASK_TEXTS = 2_000
SPEC = {
    "from": "mined", "ranks": [1, 100], "margin": None, "relative_margin": None, "max_similarity": None,
    "model": None, "near_duplicate": 0.9, "contamination": {"near": 0.8, "action": "remove"},
}  # fmt: skip
BOUNDS = [{"relative_margin": 0.05}, {"max_similarity": 0.6}, {"margin": 0.05, "ranks": [5, 100]}]


def pairs(most: int) -> tuple[pd.DataFrame, list[str]]:
    """At most so many pairs of halves, and the texts of a task that is none of them."""
    table = read_docstrings(PACKAGES, labelled=[], task_share=0.0, workers=2).drop_duplicates("text")
    rows = []
    for row in table.itertuples():
        text, positive = halves(row.summary, row.text)
        if text.strip() and positive.strip():
            rows.append((text, positive, "halves", row.id))
    table = pd.DataFrame(rows, columns=["text", "positive", "style", "source_id"]).drop_duplicates("positive")
    table = table.sample(frac=1, random_state=0)
    return table.head(most).reset_index(drop=True), table["positive"].tail(TASK_TEXTS).tolist()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--texts", type=int, default=20_000)
    asked.add_argument("--count", type=int, default=3)
    options = asked.parse_args()
    table, known = pairs(options.texts)
    answer = {"pairs": len(table), "count": options.count, "ways": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table.to_parquet(place / "pairs.parquet")
        pd.DataFrame({"text": known}).to_parquet(place / "texts.parquet")
        for bounds in BOUNDS:
            started = time.perf_counter()
            choose_negatives(
                str(place / "negatives.parquet"), str(place / "qc.json"), pairs=[str(place / "pairs.parquet")],
                corpora=[], tasks={"task": str(place / "texts.parquet")}, name="bench",
                spec={**SPEC, "count": options.count, **bounds},
            )  # fmt: skip
            qc = json.loads((place / "qc.json").read_text())
            kept = ("chosen", "pairs_with", "distinct", "most_used", "rejected")
            seconds = round(time.perf_counter() - started, 1)
            answer["ways"].append({"bounds": bounds, "seconds": seconds, **{key: qc[key] for key in kept}})
    answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
