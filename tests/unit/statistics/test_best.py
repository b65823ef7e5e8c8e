"""The best of many: ranks by hand, and an interval that holds although its variant was picked on the same scores."""

import numpy as np
import pytest
from promptpool.statistics.best import best_difference, best_of, ranks
from promptpool.statistics.estimates import Part, Sample, interval, paired


def one(score: float, replicates) -> dict[str, Sample]:
    """A variant's score on one task, with these replicates of it."""
    return {"a": Sample(score, (Part(np.array([[score]]), np.asarray(replicates, dtype=float)),))}


def test_ranks_by_hand():
    table = {"x": [0.9, 0.2], "y": [0.5, 0.2], "z": [0.1, 0.1]}
    competitors = {
        name: {task: one(score, np.full(10, score))["a"] for task, score in zip("ab", scores, strict=True)}
        for name, scores in table.items()
    }
    found = ranks(competitors)
    assert [found[name].rank for name in "xyz"] == [1.25, 1.75, 3]
    assert [found[name].best for name in "xyz"] == [2, 1, 0]
    assert [found[name].p_best for name in "xyz"] == [1, 0, 0]
    assert (found["z"].low, found["z"].high) == (3, 3)


def test_ranks_of_equals_are_uncertain_and_of_unequals_are_not():
    rng = np.random.default_rng(5)
    level = {"x": 0.5, "y": 0.501, "far": 0.2}
    competitors = {
        name: {task: one(score, rng.normal(0, 0.02, 200))["a"] for task in "abcd"} for name, score in level.items()
    }
    found = ranks(competitors)
    assert found["x"].low < found["x"].high
    assert (found["far"].low, found["far"].high, found["far"].p_best) == (3, 3, 0)
    assert found["x"].p_best + found["y"].p_best == pytest.approx(1) and 0.3 < found["x"].p_best < 0.5
    assert ranks(competitors) == found  # seeded


def test_ranks_count_what_the_experiments_show():
    """k-means alone can exchange two variants whose documents' error is nothing."""
    rng = np.random.default_rng(1)
    still = np.zeros(200)
    competitors = {
        name: {"a": Sample(score, (Part(rng.normal(score, 0.05, (1, 10)), still),))}
        for name, score in (("x", 0.5), ("y", 0.51))
    }
    assert 0.1 < ranks(competitors)["x"].p_best < 0.5


def test_ranks_without_a_spread_have_no_interval():
    found = ranks({"x": {"a": Sample(0.2)}, "y": {"a": Sample(0.1)}})
    assert (found["x"].rank, found["x"].best) == (1, 1) and np.isnan([found["x"].low, found["x"].p_best]).all()


def test_of_a_single_candidate_the_interval_is_the_plain_one():
    rng = np.random.default_rng(2)
    scores, other = (one(0.4, rng.normal(0, 0.02, 200)) for _ in range(2))
    plain, found = interval(scores), best_of([scores], 0)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.01)
    plain, found = paired(scores, other), best_difference([scores], 0, [other], 0)
    assert (found.estimate, found.high) == pytest.approx((plain.estimate, plain.high), rel=0.02, abs=1e-3)


def test_an_unknown_spread_stays_unknown():
    found = best_of([{"a": Sample(0.4)}, {"a": Sample(0.3)}], 0)
    assert found.estimate == 0.4 and np.isnan([found.low, found.high, found.p]).all()


def test_the_best_of_many_equals_is_covered_only_by_the_interval_for_all():
    """Forty equally good variants with errors of their own: the best one's plain interval misses its true score in most
    studies, and the difference of the best of each half is taken for real.
    """
    rng = np.random.default_rng(3)
    plain = simultaneous = wrong_plain = wrong = 0
    studies = 150
    for _ in range(studies):
        scores = rng.normal(0.5, 0.02, 40)
        variants = [one(score, score + rng.normal(0, 0.02, 200)) for score in scores]
        best = int(scores.argmax())
        one_of, all_of = interval(variants[best]), best_of(variants, best)
        plain += one_of.low <= 0.5 <= one_of.high
        simultaneous += all_of.low <= 0.5 <= all_of.high
        a, b = int(scores[:20].argmax()), 20 + int(scores[20:].argmin())
        wrong_plain += paired(variants[a], variants[b]).p < 0.05
        wrong += best_difference(variants[:20], a, variants[20:], b - 20).p < 0.05
    assert plain / studies < 0.5 and simultaneous / studies > 0.9
    assert wrong_plain / studies > 0.6 and wrong / studies < 0.1
