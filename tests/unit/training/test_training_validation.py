"""The held-out pairs share no text with the training pairs, and the same sources are held out whatever comes on top."""

import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.models.sentence_model import sentence_model
from promptpool.templates import Template
from promptpool.training.validation import MOST_HELD_OUT, best_step, hold_out, retrieval, wilson
from tiny_training import TEMPLATE, base_model


def table(count: int, sources: int | None = None) -> pd.DataFrame:
    """Pairs of numbered texts; some sources have several."""
    return pd.DataFrame(
        {
            "text": [f"text {i}" for i in range(count)],
            "positive": [f"positive {i}" for i in range(count)],
            "style": "halves",
            "source_id": [f"source {i % (sources or count)}" for i in range(count)],
        }
    )


def texts(part: pd.DataFrame) -> set[str]:
    return set(part["text"]) | set(part["positive"])


def test_about_the_share_is_held_out_by_source():
    kept, held = hold_out(table(4000, sources=400), 0.2, seed=1)
    assert 0.15 < len(held) / 4000 < 0.25
    assert not set(kept["source_id"]) & set(held["source_id"])
    assert len(kept) + len(held) == 4000


def test_more_pairs_move_none_from_one_side_to_the_other():
    few, many = (hold_out(table(count), 0.1, seed=1) for count in (500, 2000))
    assert texts(few[0]) <= texts(many[0]) and texts(few[1]) <= texts(many[1])


def test_another_seed_holds_out_others():
    one, other = (hold_out(table(500), 0.1, seed=seed)[1] for seed in (1, 2))
    assert texts(one) != texts(other)


def test_no_text_is_on_both_sides():
    """Two sources with one text, a text that is another's positive: no side of a held-out pair is trained on."""
    pairs = table(2000)
    pairs["text"] = [f"text {i % 300}" for i in range(2000)]
    pairs.loc[::7, "positive"] = "text 5"
    kept, held = hold_out(pairs, 0.02, seed=3)
    assert len(held) > 2 and len(kept) > 100
    assert not texts(kept) & texts(held)
    assert held["text"].is_unique and held["positive"].is_unique


def test_at_most_so_many_are_scored_and_the_rest_is_not_trained_on():
    kept, held = hold_out(table(8000), 0.5, seed=1)
    assert len(held) == MOST_HELD_OUT and len(kept) < 4300


def test_no_share_holds_out_none():
    kept, held = hold_out(table(50), 0, seed=1)
    assert len(kept) == 50 and held.empty


def test_too_few_to_judge_by_is_one_line():
    with pytest.raises(PromptpoolError, match=r"0\.001 of 50 pairs holds out 0; give a larger share, or 0 for none"):
        hold_out(table(50), 0.001, seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = base_model(tmp_path_factory.mktemp("base"))
    return sentence_model(str(path), Template.parse("cluster", TEMPLATE), "mean", 16, device="cpu")


def test_a_text_finds_itself_and_not_another(model):
    lines = ["the bread in the oven", "a sail and a mast", "rhythm", "the tide comes in"]
    assert retrieval(model, lines, lines) == 4
    assert retrieval(model, lines, lines[1:] + lines[:1]) == 0
    assert retrieval(model, lines, [lines[0], lines[2], lines[1], lines[3]]) == 2


def test_measuring_leaves_the_model_in_training(model):
    model.train()
    retrieval(model, ["a", "b"], ["a", "b"])
    assert model.training


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (45, 100, 0.3561, 0.5476)]
)
def test_the_interval_is_wilsons(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=2e-4)


def measured(*rows: tuple[int, float]) -> pd.DataFrame:
    full = [(step, accuracy, 100, accuracy - 0.1, accuracy + 0.1) for step, accuracy in rows]
    return pd.DataFrame(full, columns=["step", "accuracy", "n", "low", "high"])


def test_the_best_step_is_the_first_of_the_highest_and_never_the_untuned():
    assert best_step(measured((0, 0.9), (10, 0.5), (20, 0.7), (40, 0.7)))["best_step"] == 20
    assert not best_step(measured((0, 0.9), (10, 0.5)))["beats_base"]
    assert best_step(measured((0, 0.4), (10, 0.5)))["beats_base"]
