"""Prints readouts against the last token, from the scores of docs/studies/aggregation.yaml.

No row is picked as the best of many, so its interval is an ordinary one. Differences are paired: to the last token of
the same checkpoint under the prompt `cluster`.
"""

from pathlib import Path

import pandas as pd
from promptpool.statistics.estimates import interval, paired
from promptpool.statistics.samples import read_facts, samples_by_variant

RESULTS = Path("results/aggregation")
SETS = {
    "chosen on": ("ArxivTitles", "Banking77"),
    "confirmed on": ("ArxivAbstracts", "ArxivArchives", "Clinc150", "ClincDomains"),
    "the demo's tasks": ("DocstringParagraphs", "DocstringSummaries", "StdlibTopics"),
}
PAPERS = ("cluster", "last", -1)
ROWS = {
    "the paper's: cluster prompt, last token": PAPERS,
    "attention-weighted mean of the text's tokens": ("cluster", "attention:text", -1),
    "seven prompts, centred, averaged": ("seven", "centred", -1),
    "echo, `weighted:text`": ("echo", "weighted:text", -1),
    "last token, `soft-whiten(0.25)`": ("cluster", "last-quarter", -1),
    "`weighted`": ("cluster", "weighted", -1),
    "`weighted`, `soft-whiten(0.5)`": ("cluster", "weighted-half", -1),
    "`weighted`, layer 1": ("cluster", "weighted", 1),
    "`weighted`, layer 1, vectors of length 1": ("cluster", "first", -1),
    "`weighted`, layer 1, `soft-whiten(0.5)`": ("cluster", "first-half", -1),
    "`weighted`, layers 1 and 4, each `zscore`": ("cluster", "zscored", -1),
    "TF-IDF and SVD of other texts, 64 dimensions": ("cluster", "words", -1),
    "the same beside `weighted`, layer 1, `zscore`": ("cluster", "words-first", -1),
    "`proposed`": ("cluster", "proposed", -1),
    "`proposed`, scale `text`": ("cluster", "proposed-by-text", -1),
}
BASELINES = {"TF-IDF and SVD of the set itself, 64 dimensions": ("tfidf-svd", "baseline", 0, "none", "svd-64", 0)}
CHECKPOINTS = {"untuned": ("nano-docs", "base", 0), "tuned": ("nano-docs", "synthetic", 40)}


def shown(found, sign: str = "") -> str:
    return f"{100 * found.estimate:{sign}.1f} [{100 * found.low:{sign}.1f}, {100 * found.high:{sign}.1f}]"


def main() -> None:
    tasks = [task for own in SETS.values() for task in own]
    facts = read_facts([str(RESULTS / "tasks" / task / "facts.json") for task in tasks])
    scores = samples_by_variant(pd.read_parquet(RESULTS / "scores.parquet"), facts)
    for name, checkpoint in CHECKPOINTS.items():
        print(f"\n| {name} |" + "".join(f" {kind} | minus the first row |" for kind in SETS))
        print("| --- |" + " ---: | ---: |" * len(SETS))
        for row, variant in {**{row: (*checkpoint, *own) for row, own in ROWS.items()}, **BASELINES}.items():
            cells = []
            for own in SETS.values():
                ours, papers = ({task: scores[one][task] for task in own} for one in (variant, (*checkpoint, *PAPERS)))
                same = variant == (*checkpoint, *PAPERS)
                cells += [shown(interval(ours)), "" if same else shown(paired(ours, papers), "+")]
            print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
