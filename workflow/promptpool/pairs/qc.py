"""qc.json: the properties of a set of pairs, in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

import pandas as pd
from rapidfuzz.distance import Levenshtein

from ..text.normalisation import normalise

BIN = 0.05  # of similarity
MOST_WORDS = 100  # the last bin of a length histogram holds all longer texts
PAIRS_SAMPLED = (
    10_000  # pairs of a style used for similarity and distinct-n, because distinct-n falls as texts are added
)


def quality(table: pd.DataFrame, hits: Mapping[int, tuple], queries: Sequence[str] = ()) -> dict:
    """Summarises a set: what was asked for, kept and rejected and why, by style; tokens; contamination.

    `cut`: positives that max_new_tokens cut, in mid-sentence or not, and how many of these are kept.
    table: the written pairs with their final `reason`; hits: row -> (task, Hit) of the contaminated ones. queries:
    styles that write queries, whose distinct n-grams are those of the text, not of the positive.
    """
    tokens, seconds = int(table["tokens"].sum()), float(table["seconds"].sum())
    return {
        **_counts(table),
        "attempts": _histogram(table["attempts"]),
        "contamination": {
            **{kind: sum(hit.kind == kind for _, hit in hits.values()) for kind in ("exact", "near")},
            "tasks": dict(sorted(Counter(task for task, _ in hits.values()).items())),
        },
        "tokens": {"prompt": int(table["prompt_tokens"].sum()), "written": tokens} if tokens else None,
        "tokens_per_second": round(tokens / seconds, 1) if tokens else None,
        "seconds": round(seconds, 1),
        "styles": {
            style: _style(rows, "text" if style in queries else "positive") for style, rows in table.groupby("style")
        },
    }


def _counts(table: pd.DataFrame) -> dict:
    rejected = Counter(table["reason"].dropna())
    return {
        "asked": len(table),
        "accepted": len(table) - sum(rejected.values()),
        "rejected": dict(sorted(rejected.items())),
        "cut": {"written": int(table["cut"].sum()), "accepted": int(table["cut"][table["reason"].isna()].sum())},
    }


def _style(table: pd.DataFrame, written: str) -> dict:
    good = table[table["reason"].isna()]
    sample = good.head(PAIRS_SAMPLED)  # the first of a seeded draw
    close = [similarity(text, positive) for text, positive in zip(sample["text"], sample["positive"], strict=True)]
    words = sample[written].str.split().tolist()
    return {
        **_counts(table),
        "words": {side: _histogram(min(len(text.split()), MOST_WORDS) for text in good[side])
                  for side in ("text", "positive")},
        "similarity": {f"{step * BIN:.2f}": count
                       for step, count in sorted(Counter(min(19, int(value / BIN)) for value in close).items())},
        **{f"distinct_{n}": distinct(words, n) for n in (1, 2, 3)},
    }  # fmt: skip


def similarity(text: str, positive: str) -> float:
    """Edit similarity of the normalised texts (0: nothing shared, 1: the same), as in the echo filter."""
    return Levenshtein.normalized_similarity(normalise(text), normalise(positive))


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Distinct word n-grams / all (distinct-n, arXiv 1510.03055), 0 to 1. texts: lists of words."""
    grams = [gram for words in texts for gram in zip(*(islice(words, k, None) for k in range(n)), strict=False)]
    return round(len(set(grams)) / max(1, len(grams)), 4)


def _histogram(values) -> dict[str, int]:
    """Value -> its count, in ascending order."""
    counts = Counter(int(value) for value in values)
    return {str(value): counts[value] for value in sorted(counts)}
