"""Prints a table of search from the scores of docs/studies/search.yaml.

Every row is named beforehand, so its interval is an ordinary one. Differences are paired by query.
"""

from pathlib import Path

import pandas as pd
from promptpool.statistics.estimates import interval, paired
from promptpool.statistics.samples import read_facts, samples_by_variant

RESULTS = Path("results/search")
TASKS = {"DocstringSearch": "nDCG@10", "DocstringRecall": "recall@10"}
ROWS = {
    "random vectors": ("random", "baseline", 0, "none", "none", 0),
    "TF-IDF + SVD, 256 dimensions": ("tfidf-svd", "baseline", 0, "none", "none", 0),
    "BM25": ("bm25", "baseline", 0, "none", "none", 0),
    "untuned, `cluster`": ("nano-docs", "base", 0, "cluster", "last", -1),
    "untuned, roles": ("nano-docs", "base", 0, "search", "last", -1),
    "the demo's recipe": ("nano-docs", "demo", 40, "cluster", "last", -1),
    "summaries and bodies, one prompt": ("nano-docs", "one-prompt", 40, "cluster", "last", -1),
    "summaries and bodies, roles": ("nano-docs", "two-prompts", 40, "search", "last", -1),
    "summaries and bodies, roles that end alike": ("nano-docs", "like-prompts", 40, "like", "last", -1),
    "one prompt and hard negatives": ("nano-docs", "one-prompt-negatives", 40, "cluster", "last", -1),
    "roles and hard negatives": ("nano-docs", "two-prompts-negatives", 40, "search", "last", -1),
}
OURS = "roles and hard negatives"


def shown(found, sign: str = "") -> str:
    return f"{100 * found.estimate:{sign}.1f} [{100 * found.low:{sign}.1f}, {100 * found.high:{sign}.1f}]"


def main() -> None:
    facts = read_facts([str(RESULTS / "tasks" / task / "facts.json") for task in TASKS])
    scores = samples_by_variant(pd.read_parquet(RESULTS / "scores.parquet"), facts)
    heads = [head for measure in TASKS.values() for head in (measure, "difference of the last row to this")]
    print("| | " + " | ".join(heads) + " |\n| --- |" + " ---: |" * len(heads))
    for name, variant in ROWS.items():
        cells = []
        for task in TASKS:
            own, ours = ({task: scores[one][task]} for one in (variant, ROWS[OURS]))
            cells += [shown(interval(own)), "" if name == OURS else shown(paired(ours, own), "+")]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
