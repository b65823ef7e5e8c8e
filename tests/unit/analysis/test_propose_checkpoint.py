"""The proposed checkpoint: chosen by held-out pairs alone, and how its criterion ranks against the scores."""

import math

import pandas as pd
import pytest
from promptpool.analysis.propose_checkpoint import in_a_line, propose_checkpoint, rank_agreement, validations
from promptpool.analysis.summarise_scores import headline
from promptpool.statistics.samples import samples_by_variant
from sample_tables import sample_facts, sample_scores

SPEC = {"adapter": "halves", "model": "nano-docs", "prompt": "cluster", "pooling": "last"}


def trained(folder, name: str, accuracies: dict[int, float]) -> str:
    place = folder / name
    place.mkdir()
    table = pd.DataFrame({"step": list(accuracies), "accuracy": list(accuracies.values()), "n": 10})
    table.to_parquet(place / "validation.parquet")
    return str(place)


def at(step: int) -> tuple:
    return ("nano-docs", "halves" if step else "base", step, "cluster", "last", -1)


def test_the_most_accurate_step_is_proposed_by_the_mean_over_seeds(tmp_path):
    seeds = [trained(tmp_path, "a", {0: 0.1, 20: 0.9, 40: 0.5}), trained(tmp_path, "b", {0: 0.1, 20: 0.2, 40: 0.7})]
    found = propose_checkpoint(seeds, SPEC)
    assert found.variant == at(40)
    assert found.accuracies == pytest.approx({at(0): 0.1, at(20): 0.55, at(40): 0.6})


@pytest.mark.parametrize(
    ("accuracies", "step"), [({0: 0.9, 20: 0.5}, 0), ({0: 0.5, 20: 0.9, 40: 0.9}, 20), ({40: 0.9, 20: 0.2, 0: 0.1}, 40)]
)
def test_the_untuned_model_is_a_candidate_and_the_earliest_of_equals_wins(tmp_path, accuracies, step):
    assert propose_checkpoint([trained(tmp_path, "a", accuracies)], SPEC).variant == at(step)


def test_an_adapter_of_an_inner_layer_is_proposed_there(tmp_path):
    """With a score of that layer it has a row; without one it has none, like a pooling that the grid lacks."""
    place = [trained(tmp_path, "a", {0: 0.1, 20: 0.9})]
    assert propose_checkpoint(place, {**SPEC, "layer": 0.5}).variant == (*at(20)[:-1], 0.5)
    scores = sample_scores()
    shown = headline(scores, sample_facts(), {}, {}, {}, propose_checkpoint(place, {**SPEC, "layer": 0.5}))
    assert "proposed" not in set(shown["row"])
    moved = scores.assign(layer=scores["layer"].where(scores["layer"] != -1, 0.5))
    shown = headline(moved, sample_facts(), {}, {}, {}, propose_checkpoint(place, {**SPEC, "layer": 0.5}))
    assert shown.set_index("row").loc["proposed", "layer"] == 0.5


def test_without_held_out_pairs_nothing_is_proposed(tmp_path):
    (tmp_path / "none").mkdir()
    assert propose_checkpoint([str(tmp_path / "none")], SPEC) is None and propose_checkpoint([], {}) is None
    assert validations([str(tmp_path / "none")]) == []


@pytest.fixture
def variants():
    return samples_by_variant(sample_scores(), sample_facts())


def by_scores(folder, variants, sign: int) -> object:
    """A proposal whose accuracies have the order of the scores, or the opposite one."""
    steps = (0, 20, 40, 80)
    means = [sum(sample.estimate for sample in variants[at(step)].values()) for step in steps]
    order = sorted(range(len(steps)), key=lambda one: sign * means[one])
    return propose_checkpoint([trained(folder, "a", {steps[one]: place / 10 for place, one in enumerate(order)})], SPEC)


@pytest.mark.parametrize("sign", [1, -1])
def test_agreement_is_spearmans(tmp_path, variants, sign):
    proposal = by_scores(tmp_path, variants, sign)
    assert rank_agreement(proposal, variants) == (pytest.approx(sign), 4)
    line = in_a_line(proposal, variants)
    assert f"rho {sign:.2f}" in line and "among 4 checkpoints" in line


def test_too_few_or_equal_checkpoints_have_no_order(tmp_path, variants):
    two = propose_checkpoint([trained(tmp_path, "a", {0: 0.1, 20: 0.2})], SPEC)
    assert math.isnan(rank_agreement(two, variants)[0]) and "not known" in in_a_line(two, variants)
    equal = propose_checkpoint([trained(tmp_path, "b", {0: 0.1, 20: 0.1, 40: 0.1})], SPEC)
    assert math.isnan(rank_agreement(equal, variants)[0])


def test_the_headline_has_the_proposed_row_and_no_score_moves_it(tmp_path, variants):
    proposal = by_scores(tmp_path, variants, -1)  # the worst by scores
    table = headline(sample_scores(), sample_facts(), {}, {"none": "{text}"}, proposal=proposal)
    (row,) = table[table["row"] == "proposed"].to_dict("records")
    assert (row["kind"], row["of"], row["step"], row["adapter"]) == ("score", 1, *proposal.variant[2:0:-1])
    best = table[table["row"] == "best tuned"].iloc[0]
    assert row["low"] < row["score"] < row["high"] and row["score"] < best["score"]
    plain = headline(sample_scores(), sample_facts(), {}, {"none": "{text}"})
    pd.testing.assert_frame_equal(table[table["row"] != "proposed"].reset_index(drop=True), plain)
