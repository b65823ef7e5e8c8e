"""What the filters cost: python tests/bench/bench_filters.py SENTENCES.parquet [--workers 2] [--limit N]

Every sentence is an anchor. Its positive is, in turn, noised (words left out, swapped, letters changed), the next
sentence (an honest rewrite, as far as the filters can tell), or one of a few spoilt answers. As many task texts as
`--tasks` are cut together from halves of sentences; 200 are sentences themselves, and 200 such with one word changed.
Prints seconds, texts, reasons and peak memory as one JSON object.
"""

import argparse
import json
import os
import random
import resource
import time
from collections import Counter

import pandas as pd
from promptpool.contamination import contaminated
from promptpool.filters import first_uses, judge
from promptpool.near_duplicates import near_duplicates

FILTERS = {
    "min_words": 4, "max_echo": 0.8, "script": True, "language": True, "refusal": True, "leaked": True,
    "length_ratio": [0.2, 5.0], "near_duplicate": 0.8, "semantic": None,
}  # fmt: skip
INSTRUCTION = "Rewrite the sentence below in simpler language. Answer with the rewritten sentence only.\n\n{text}"
SPOILT = (
    "Sure, here is a simpler version: {}",
    "I'm sorry, but I can't help with that.",
    "Rewrite the sentence below in simpler language. {}",
    "{} Let me know if you need anything else!",
    "Wir zeigen in dieser Arbeit, dass das Verfahren auch ohne weitere Annahmen sehr gut funktioniert.",
    "我们提出了一种新的方法，并且证明了它的有效性。",
)
PLANTED = 200
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def noised(text: str, rng: random.Random) -> str:
    """A tenth of the words left out, two swapped, a twentieth of the letters changed."""
    words = [word for word in text.split() if rng.random() > 0.1] or text.split()
    a, b = rng.randrange(len(words)), rng.randrange(len(words))
    words[a], words[b] = words[b], words[a]
    return "".join(rng.choice(LETTERS) if rng.random() < 0.05 else letter for letter in " ".join(words))


def make_pairs(texts: list[str], rng: random.Random) -> tuple[list[str], list[str]]:
    """Positives and their styles: half noised, half the next sentence, one in fifty of these spoilt."""
    positives, styles = [], []
    for row, text in enumerate(texts):
        other = texts[(row + 1) % len(texts)]
        if row % 2 == 0:
            positives.append(noised(text, rng))
            styles.append("characters")
        else:
            positives.append(rng.choice(SPOILT).format(other) if rng.random() < 0.02 else other)
            styles.append("simple")
    return positives, styles


def make_tasks(texts: list[str], number: int, rng: random.Random) -> list[str]:
    long = [text.split() for text in texts if len(text.split()) > 11]
    tasks = [" ".join(text) for text in long[:PLANTED]]
    tasks += [" ".join([*text[:-1], "otherwise"]) for text in long[PLANTED : 2 * PLANTED]]
    while len(tasks) < number:
        one, other = rng.choice(long), rng.choice(long)
        tasks.append(" ".join(one[: len(one) // 2] + other[len(other) // 2 :]))
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", help="parquet of sentences")
    parser.add_argument("--column", default="text")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many sentences")
    parser.add_argument("--tasks", type=int, default=100_000, help="task texts to look for")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    texts = pd.read_parquet(asked.path)[asked.column].head(asked.limit).tolist()
    rng = random.Random(0)
    positives, styles = make_pairs(texts, rng)
    tasks = make_tasks(texts, asked.tasks, rng)
    seconds: dict[str, float] = {}
    cpu = sum(os.times()[:4])

    def timed(name: str, call, *args, **kwargs):
        started = time.perf_counter()
        answer = call(*args, **kwargs)
        seconds[name] = round(time.perf_counter() - started, 1)
        return answer

    reasons = timed(
        "judge", judge, texts, positives, styles, FILTERS, {"simple": INSTRUCTION},
        echoing=frozenset({"characters"}), workers=asked.workers,
    )  # fmt: skip
    fresh = timed("first_uses", first_uses, positives)
    near = timed("near_duplicates", near_duplicates, positives, FILTERS["near_duplicate"])
    hits = timed("contaminated", contaminated, texts + positives, tasks, 0.8)
    cpu = sum(os.times()[:4]) - cpu  # own and workers'; on a busy machine the truer number
    counts = Counter(reason for reason in reasons if reason)
    counts["duplicate"] = fresh.count(False)
    counts["near-duplicate"] = sum(number is not None for number in near)
    counts |= {
        f"contaminated ({kind})": sum(h is not None and h.kind == kind for h in hits) for kind in ("exact", "near")
    }
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {
                "pairs": len(texts), "task_texts": len(tasks), "workers": asked.workers,
                "seconds": {**seconds, "all": round(sum(seconds.values()), 1), "cpu": round(cpu, 1)},
                "peak_mb": {"own": own // 1024, "largest_worker": workers // 1024},
                "reasons": dict(sorted(counts.items())),
            },
            indent=2,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
