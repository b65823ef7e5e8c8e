"""Prints what docs/studies/long-texts.yaml measured: each way's score, and its paired difference to cutting.

    python docs/studies/long_texts_table.py [results/long-texts]

An interval is the workflow's own: over documents or queries, the same ones for both ways.
"""

import json
import sys
from pathlib import Path

import pandas as pd
from promptpool.statistics.estimates import paired
from promptpool.statistics.samples import read_facts, samples_by_variant

CUT, BASELINE = "cut", "baseline"


def main(results: str = "results/long-texts") -> None:
    folder = Path(results)
    facts = read_facts(sorted(folder.glob("tasks/*/facts.json")))
    known = samples_by_variant(pd.read_parquet(folder / "scores.parquet"), facts)
    for path in sorted(folder.glob("embeddings/*/base/all.json")):
        for task, own in json.loads(Path(f"{path}.meta.json").read_text(encoding="utf-8"))["text_lengths"].items():
            print(json.dumps({"task": task, **own}))
    rows = []
    for variant, tasks in known.items():
        if variant[1] == BASELINE:
            continue
        for task, sample in tasks.items():
            kind, _, way = task.partition("-")
            one = paired({kind: sample}, {kind: tasks[f"{kind}-{CUT}"]})
            rows.append({
                "task": kind, "prompt": variant[3], "pooling": variant[4], "way": way, "score": 100 * sample.estimate,
                "minus cut": 100 * one.estimate, "low": 100 * one.low, "high": 100 * one.high,
            })  # fmt: skip
    table = pd.DataFrame(rows).sort_values(["task", "prompt", "pooling", "way"])
    print(table.to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":
    main(*sys.argv[1:])
