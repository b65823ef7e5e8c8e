"""Draws the samples of docs/studies/aggregation.yaml and docs/studies/choice.yaml: data/*.parquet from whole sets.

    python docs/studies/aggregation_texts.py FOLDER

FOLDER holds the sets as parquet files of the same names with the columns text and label, arxiv_sentences with the
column text. 600 rows over 150 labels would say little, so a sample has few labels of many texts.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd

TEXTS, LABELS = 30, 20  # texts of a label, labels
DRAWN = {  # set -> (texts of a label, the labels: so many drawn of those with enough texts, or the most frequent)
    "arxiv_titles_category": (TEXTS, LABELS, "drawn"),
    "arxiv_titles_archive": (TEXTS, LABELS, "drawn"),
    "banking77": (TEXTS, LABELS, "drawn"),
    "clinc150": (TEXTS, LABELS, "drawn"),
    "clinc150_domain": (60, 10, "drawn"),
    "arxiv_abstracts_category": (20, 30, "frequent"),
}


def sample(table: pd.DataFrame, texts: int, labels: int, which: str) -> pd.DataFrame:
    counts = table["label"].value_counts()
    enough = pd.Series(sorted(counts.index[counts >= texts]))
    drawn = enough.sample(min(labels, len(enough)), random_state=0)
    kept = counts.index[:labels] if which == "frequent" else drawn
    return table[table["label"].isin(kept)].groupby("label").sample(texts, random_state=0)


def main() -> None:
    folder = Path(sys.argv[1])
    Path("data").mkdir(exist_ok=True)
    for name, (texts, labels, which) in DRAWN.items():
        drawn = sample(pd.read_parquet(folder / f"{name}.parquet"), texts, labels, which)
        drawn.to_parquet(f"data/{name}.parquet", index=False)
        print(f"{name}: {drawn['label'].nunique()} labels, {len(drawn)} texts")
    shutil.copyfile(folder / "arxiv_sentences.parquet", "data/arxiv_sentences.parquet")


if __name__ == "__main__":
    main()
