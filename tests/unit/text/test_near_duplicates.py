"""Near-duplicates: exactly those that comparing every pair finds."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from promptpool.text.near_duplicates import ShingleIndex, near_duplicates, shingled
from sample_texts import jaccard, muddled, shingle_set


def by_brute_force(texts: list[str], threshold: float) -> list[int | None]:
    sets, answer = [shingle_set(text) for text in texts], []
    for row, mine in enumerate(sets):
        kept = (n for n in range(row) if answer[n] is None and jaccard(mine, sets[n]) >= threshold)
        answer.append(next(kept, None))
    return answer


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_they_are_those_that_every_pair_tells(seed, threshold):
    texts = muddled(seed)
    found = near_duplicates(texts, threshold)
    assert found == by_brute_force(texts, threshold)
    assert 50 < sum(number is not None for number in found) < 400


def test_a_pair_at_the_threshold_is_in_and_one_below_is_out():
    # 12 words make 10 shingles; a changed last word leaves 9 of 11 in common: 0.818.
    one = "a b c d e f g h i j k l"
    other = "a b c d e f g h i j k x"
    assert near_duplicates([one, other], 9 / 11) == [None, 0]
    assert near_duplicates([one, other], 9 / 11 + 1e-9) == [None, None]


def test_the_earliest_kept_text_is_named_and_a_dropped_one_never():
    first, near, nearer = "a b c d e f g h i j", "a b c d e f g h i x", "y b c d e f g h i x"
    assert near_duplicates([first, near], 0.7) == [None, 0]
    assert near_duplicates([near, nearer], 0.7) == [None, 0]
    assert near_duplicates([first, near, nearer], 0.7) == [None, 0, None]
    assert near_duplicates([near, first, first, nearer], 0.7) == [None, 0, 0, 0]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["Red car", "red, CAR!", "car red", "red"], [None, 0, None, None]),
        (["one", "One", "two"], [None, 0, None]),
        (["", "", " ... ", "\U0001f642"], [None, None, None, None]),
        (["\ud800 a b c", "a b c"], [None, 0]),
        (["日本語の文章", "日本語の文章。", "別の文です"], [None, 0, None]),
        ([], []),
        (["alone"], [None]),
    ],
)
def test_short_empty_and_odd_texts(texts, wanted):
    assert near_duplicates(texts, 0.8) == wanted


def test_hugely_long_texts_are_compared_too():
    rng = random.Random(0)
    found = [f"w{rng.randrange(10_000)}" for _ in range(20_000)]
    edited = [*found[:300], "new", *found[301:]]
    assert near_duplicates([" ".join(found), " ".join(edited), " ".join(found[:9_000])], 0.9) == [None, 0, None]


def test_a_template_filled_in_many_times_is_one_text():
    texts = [f"the value of parameter {n} is set by the user in the file of settings" for n in range(3_000)]
    assert near_duplicates(texts, 0.5) == [None] + [0] * 2_999
    assert near_duplicates(texts, 0.8) == [None] * 3_000


def test_shingles_are_sorted_unique_and_the_same_in_every_process():
    texts = ["a b c a b c", "x y", "", "日本語"]
    sets = shingled(texts)
    assert sets.sizes.tolist() == [len(shingle_set(text)) for text in texts] == [3, 1, 0, 1]
    assert all((np.diff(sets.of(n).astype(object)) > 0).all() for n in range(len(texts)))
    code = f"from promptpool.text.near_duplicates import shingled; print(shingled({texts!r}).hashes.tolist())"
    env = {"PYTHONPATH": str(Path(__file__).parents[3] / "workflow"), "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == str(sets.hashes.tolist())


def test_an_index_finds_what_lies_within_a_text():
    sets = shingled(["a b c d e", "v w x y z", "a b c q r"])
    index = ShingleIndex(sets, 0.6)
    for number in range(3):
        index.add(number)
    text = shingled(["so a b c d e it is, v w x too"]).of(0)
    assert index.find(text, text.tolist()) == [(0, 3)]
    assert index.find(text, []) == []


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_a_threshold_out_of_bounds_is_refused(threshold):
    with pytest.raises(ValueError, match="must lie above 0 and be at most 1"):
        near_duplicates(["a"], threshold)


def test_progress_ends_at_the_whole():
    seen = []
    near_duplicates(muddled(1), 0.8, lambda *at: seen.append(at))
    assert seen[-1] == (400, 400) and seen == sorted(seen)
