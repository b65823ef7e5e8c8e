"""Contamination: what of the tasks' texts stands among the training texts, and nothing else."""

import random

import pytest
from promptpool.pairs import contamination
from promptpool.pairs.contamination import Hit, contaminated
from promptpool.text.normalisation import normalise
from promptpool.text.words import word_count
from sample_texts import jaccard, muddled, shingle_set

KNOWN = [
    "Return the number of nodes.",
    "A new method for measuring the surface tension of organic compounds in a vacuum is proposed here.",
    "the oven is hot",
    "",
    "...",
]


def kinds(*texts: str, threshold: float | None = 0.8) -> list[Hit | None]:
    return contaminated(texts, KNOWN, threshold)


def by_brute_force(texts: list[str], known: list[str], threshold: float) -> list[Hit | None]:
    answer = []
    for text in texts:
        same = [n for n, other in enumerate(known) if normalise(text) and normalise(text) == normalise(other)]
        mine, best = shingle_set(text), (0.0, None)
        for number, other in enumerate(known):
            theirs = shingle_set(other)
            share = len(mine & theirs) / len(theirs) if theirs else 0.0
            brief = word_count(other) < contamination.LEAST_WORDS_WITHIN
            if share >= threshold and share > best[0] and (not brief or jaccard(mine, theirs) >= threshold):
                best = (share, number)
        near = None if best[1] is None else Hit("near", best[1])
        answer.append(Hit("exact", same[0]) if same else near)
    return answer


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_hits_are_those_that_every_pair_tells(seed, threshold):
    texts, rng = muddled(seed, 300), random.Random(seed)
    known, others = texts[::3], texts[1::3]
    others += [f"before it {text} and after it" for text in rng.sample(known, 40)]
    found = contaminated(others, known, threshold)
    assert found == by_brute_force(others, known, threshold)
    assert {"exact", "near"} == {hit.kind for hit in found if hit}


@pytest.mark.parametrize("text", ["the oven is hot", "The  oven\nis HOT!", "“The oven, is hot…”"])
@pytest.mark.parametrize("threshold", [None, 0.8])
def test_the_same_words_are_an_exact_hit(text, threshold):
    assert kinds(text, threshold=threshold) == [Hit("exact", 2)]


def test_a_changed_word_is_a_near_hit_unless_only_exact_ones_are_asked_for():
    changed = KNOWN[1].replace("vacuum", "chamber")
    assert kinds(changed, threshold=0.75) == [Hit("near", 1)]
    assert kinds(changed, threshold=None) == [None]


def test_a_task_text_within_a_longer_text_is_a_near_hit():
    around = f"We thank the reviewers. {KNOWN[1]} " + "Much else is said, too. " * 200
    assert kinds(around) == [Hit("near", 1)]


def test_a_short_task_text_within_a_longer_text_is_none():
    assert kinds("Return the number of nodes in the graph, or zero where it is empty.") == [None]
    assert kinds("In the kitchen the oven is hot, so take care.") == [None]


def test_a_part_of_a_task_text_is_none():
    assert kinds("A new method for measuring the surface tension is used.") == [None]


def test_texts_without_words_are_clean_and_so_is_all_without_known_texts():
    assert kinds("", "...", "\U0001f642", "\ud800") == [None] * 4
    assert contaminated(["the oven is hot"], [], 0.8) == contaminated(["a"], ["", "."], 0.8) == [None]
    assert contaminated([], KNOWN, 0.8) == []


def test_of_equal_task_texts_the_first_is_named():
    assert contaminated(["one two three four"], ["x", "One two three four", "one two three four"], 0.8) == [
        Hit("exact", 1)
    ]


def test_the_fuller_match_is_named():
    longer = KNOWN[1].replace("here", "now")
    assert contaminated([KNOWN[1] + " And so on."], [longer, KNOWN[1]], 0.8) == [Hit("near", 1)]


def test_chunks_change_nothing(monkeypatch):
    texts = muddled(3, 300)
    whole = contaminated(texts[1::2], texts[::2], 0.7)
    monkeypatch.setattr(contamination, "TEXTS_A_CHUNK", 7)
    seen = []
    assert contaminated(texts[1::2], texts[::2], 0.7, lambda *at: seen.append(at)) == whole
    assert seen[0] == (7, 150) and seen[-1] == (150, 150)


def test_words_that_differ_by_a_mark_alone_are_two():
    assert normalise("कल") != normalise("काल")
    assert normalise("Le  CAFÉ, là!") == "le café là"
