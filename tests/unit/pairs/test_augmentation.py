"""Positives that need no language model."""

import random
from collections import Counter

import pytest
from promptpool.pairs.augmentation import character_noise, delete_words, halves, noisers, swap_words

TEXT = "Die Brücke über den Fluss – „alt“, sagt man –\n\twurde 1894 gebaut.  Sie steht noch."


def draws(count: int):
    return (random.Random(seed) for seed in range(count))


def test_deletion_keeps_the_order_and_what_is_between_words():
    for draw in draws(200):
        left = delete_words(TEXT, 0.3, draw)
        assert 0 < len(left.split()) < len(TEXT.split())
        rest = iter(TEXT.split())
        assert all(word in rest for word in left.split())  # a subsequence


def test_deletion_takes_its_share_of_a_long_text():
    text = " ".join(f"w{n}" for n in range(2000))
    shares = [1 - len(delete_words(text, 0.1, draw).split()) / 2000 for draw in draws(20)]
    assert 0.09 < sum(shares) / 20 < 0.11


def test_deletion_of_everything_leaves_a_word_and_a_lone_word_stays():
    assert len(delete_words("a b c", 1.0, random.Random(0)).split()) == 1
    assert delete_words("word", 0.9, random.Random(0)) == "word"
    assert delete_words(TEXT, 0, random.Random(0)) == TEXT


def test_spaces_between_the_words_that_stay_are_kept():
    text = "one\n\ttwo  three"
    assert {delete_words(text, 0.3, draw) for draw in draws(100)} >= {"one\n\ttwo", "two  three"}


def test_a_swap_moves_two_words_and_no_space():
    for draw in draws(100):
        swapped = swap_words(TEXT, 1, draw)
        assert Counter(swapped.split()) == Counter(TEXT.split())
        assert sum(a != b for a, b in zip(swapped.split(), TEXT.split(), strict=True)) == 2
        assert [c for c in swapped if c.isspace()] == [c for c in TEXT if c.isspace()]
    assert swap_words("one", 1, random.Random(0)) == "one"
    assert swap_words(TEXT, 0, random.Random(0)) == TEXT


def test_mistyping_takes_its_share_of_letters_and_no_punctuation():
    text = "abcdefghij" * 500 + " !?…"
    for draw in draws(5):
        noisy = character_noise(text, 0.05, draw)
        assert noisy.endswith(" !?…")
        assert 4900 < len(noisy) < 5100
    noisy = character_noise("z" * 10000, 0.05, random.Random(1))
    # Of four slips one shows as a missing letter; the others, for want of an unlike neighbour, as a foreign one.
    assert 0.034 < sum(letter != "z" for letter in noisy) / 10000 < 0.041


def test_mistyping_always_slips_somewhere_where_it_can():
    assert all(character_noise("abcdefgh", 0.0001, draw) != "abcdefgh" for draw in draws(50))
    assert character_noise("…!", 0.5, random.Random(0)) == "…!"
    assert character_noise("", 0.5, random.Random(0)) == ""


@pytest.mark.parametrize("style", ["word-deletion", "word-swap", "character-noise"])
def test_noise_is_a_matter_of_the_seed_alone_and_stays_fast_on_long_texts(style):
    noise = noisers({"deletion": 0.1, "swaps": 1, "characters": 0.05})[style]
    long = TEXT * 1500
    assert noise(long, random.Random(5)) == noise(long, random.Random(5)) != noise(long, random.Random(6))


def test_halves_are_the_anchor_and_the_rest_of_its_document():
    assert halves("Sum.", "Sum.\n\nAdds numbers up.") == ("Sum.", "Adds numbers up.")
    assert halves("Sum of all.", "Σ\n\nThe rest of it.") == ("Sum of all.", "The rest of it.")
    assert halves("a b c d e", "a b c d e") == ("a b c", "d e")
    assert len(halves("x", "x " + "y " * 90)[1].split()) == 60
