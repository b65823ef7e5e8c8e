"""Random texts with near-duplicates among them, and what makes two texts alike, written out plainly."""

import random

from promptpool.text.words import words


def shingle_set(text: str, size: int = 3) -> set[tuple]:
    found = words(text)
    size = min(size, len(found))
    return {tuple(found[i : i + size]) for i in range(len(found) - size + 1)} if found else set()


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def muddled(seed: int, number: int = 400) -> list[str]:
    """Random texts, many of them edits of earlier ones; common and rare words, all lengths from none up."""
    rng, texts = random.Random(seed), []
    vocabulary = ["the", "of", "a", "graph", *[f"w{n}" for n in range(60)], "日", "本", "語"]
    for _ in range(number):
        if texts and rng.random() < 0.6:
            found = rng.choice(texts).split()
            for _ in range(rng.randint(0, 3)):
                place = rng.randrange(len(found) + 1)
                found[place : place + rng.randint(0, 1)] = [rng.choice(vocabulary)] * rng.randint(0, 2)
        else:
            found = rng.choices(
                vocabulary, weights=[30, 30, 30, 10, *[1] * 63], k=rng.choice([0, 1, 2, 3, 4, 8, 15, 40])
            )
        texts.append(" ".join(found))
    return texts
