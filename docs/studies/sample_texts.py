"""Writes workflow/resources/sample.csv, the sample of `promptpool init --from-scratch sample`.

Its texts are the descriptions that the installed MTEB (Apache-2.0) gives of its tasks; a label is a task's type.
"""

import csv
import random
import re
from pathlib import Path

import mteb

SAMPLE = Path(__file__).parents[2] / "workflow/resources/sample.csv"
TYPES = ("Any2AnyRetrieval", "AudioClassification", "BitextMining", "Classification", "Clustering",
         "DocumentUnderstanding", "PairClassification", "Reranking", "Retrieval", "STS")  # fmt: skip
MOST = 80  # texts of a type
LATER = re.compile(r" ?This version corrects errors found in the original data\..*")


def main() -> None:
    texts: dict[str, tuple[str, str]] = {}
    for task in mteb.get_tasks(exclude_superseded=False):
        about = task.metadata
        text = LATER.sub("", " ".join((about.description or "").split()))
        if about.type in TYPES and 6 <= len(text.split()) <= 80:
            texts.setdefault(text.casefold(), (text, about.type))
    drawn = random.Random(42).sample(sorted(texts.values()), len(texts))
    with SAMPLE.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["text", "label"])
        for kind in TYPES:
            writer.writerows([row for row in drawn if row[1] == kind][:MOST])


if __name__ == "__main__":
    main()
