"""Noise as the published code draws it: both sides, all kinds, anew in every epoch; and a training with it."""

import json
import random

import pytest
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.training.published_noise import noisy_pairs, published_noise
from promptpool.training.rank import train_rank
from sample_config import ROOT, demo
from tiny_training import base_model, call, same, weights, write_pairs

TEXT = " ".join(f"word{number}" for number in range(400))


def test_a_tenth_of_the_words_goes_two_change_places_and_a_twentieth_is_misspelt():
    lost, wrong = [], []
    for seed in range(30):
        words = published_noise(TEXT, random.Random(seed)).split()
        lost.append(1 - len(words) / 400)
        wrong.append(sum(word not in TEXT.split() for word in words) / len(words))
    assert 0.09 < sum(lost) / 30 < 0.11
    assert 0.03 < sum(wrong) / 30 < 0.055  # two equal letters may change places


@pytest.mark.parametrize("text", ["", "a", "one", "ab cd", "  two   words "])
def test_short_texts_stay_texts(text):
    for seed in range(200):
        found = published_noise(text, random.Random(seed))
        assert bool(found.strip()) == bool(text.strip())
        assert sorted(found.replace(" ", "")) <= sorted(text.replace(" ", "")) or len(found) <= len(text)


def test_both_sides_are_noisy_and_another_epoch_draws_again():
    now = {"epoch": 0}
    columns = {"text": [TEXT, TEXT], "positive": [TEXT, TEXT], "label": [[0, 1], [0, 1]]}
    pairs = noisy_pairs(columns, 7, lambda: now["epoch"], None)
    first = pairs[:2]
    assert first["text"][0] != TEXT and first["positive"][0] != TEXT
    assert first["text"][0] != first["positive"][0]
    assert pairs[:2] == first
    assert first["label"] == columns["label"]
    now["epoch"] = 1
    assert pairs[:2]["text"][0] != first["text"][0]


def test_the_prompt_is_put_round_the_noisy_text():
    columns = {"text": ["a b c"], "positive": ["d e f"]}
    pairs = noisy_pairs(columns, 7, lambda: 0, lambda texts: [f"<{text}>" for text in texts])
    assert pairs[:1]["text"][0][0] == "<" and pairs[:1]["positive"][0][-1] == ">"


@pytest.mark.parametrize("tokenization", ["composed", "joint"])
def test_a_training_with_noise_is_another_one_and_can_be_repeated(tmp_path, tokenization):
    model, pairs = base_model(tmp_path), tmp_path / "pairs.parquet"
    write_pairs(pairs)
    for name, changes in (("plain", {}), ("noisy", {"noise": "published"}), ("again", {"noise": "published"})):
        train_rank(**call(model, pairs, tmp_path / name, tokenization=tokenization, **changes))
    plain, noisy, again = (weights(tmp_path / name, 3) for name in ("plain", "noisy", "again"))
    assert same(noisy, again) and not same(plain, noisy)
    assert json.loads((tmp_path / "noisy.meta.json").read_text())["spec"]["noise"] == "published"


def test_without_noise_an_adapters_recipe_is_as_before(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "noise" not in recipe(resolve(demo()), "halves")
    assert recipe(resolve(demo(adapters__halves__noise="published")), "halves")["noise"] == "published"
