"""Intervals: checked against scipy, against hand computation, and against what they promise."""

import numpy as np
import pytest
from promptpool.statistics import holm, interval, paired
from scipy import stats

ONE = [0.31, 0.35, 0.29, 0.33, 0.36, 0.30, 0.34, 0.32, 0.28, 0.37]
TWO = [0.51, 0.55, 0.52, 0.50, 0.57, 0.53, 0.54, 0.49, 0.56, 0.58]


def test_bootstrap_replicates_are_not_averaged_down():
    # The spread of the replicates is the standard error itself.
    error = np.std(ONE, ddof=1)
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=np.mean(ONE), scale=error)
    found = interval({"a": ONE})
    assert (found.estimate, found.low, found.high) == pytest.approx((np.mean(ONE), low, high))
    assert found.n == len(ONE)


def test_independent_sets_give_the_plain_t_interval():
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=np.mean(ONE), scale=stats.sem(ONE))
    found = interval({"a": ONE}, bootstrap=False)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_p_of_independent_sets_is_that_of_the_t_test():
    values = np.subtract(ONE, 0.3)
    assert interval({"a": values}, bootstrap=False).p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_tasks_weigh_the_same_whatever_their_experiments():
    assert interval({"a": [0.0, 0.2], "b": [0.9, 1.0, 1.1, 1.0]}).estimate == pytest.approx((0.1 + 1.0) / 2)


def test_two_tasks_by_hand():
    variances = np.var(ONE, ddof=1), np.var(TWO, ddof=1)
    error = np.sqrt(sum(variances)) / 2
    freedom = sum(variances) ** 2 / sum(v**2 / 9 for v in variances)  # Welch and Satterthwaite
    found = interval({"a": ONE, "b": TWO})
    assert found.high - found.estimate == pytest.approx(stats.t.ppf(0.975, freedom) * error)
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)
    assert found.p == pytest.approx(2 * stats.t.sf(found.estimate / error, freedom))


def test_the_order_of_tasks_does_not_matter():
    one, other = interval({"a": ONE, "b": TWO}), interval({"b": TWO, "a": ONE})
    assert vars(one) == pytest.approx(vars(other))


def test_p_is_under_five_percent_exactly_where_the_interval_leaves_zero_out():
    rng = np.random.default_rng(0)
    for shift in np.linspace(-3, 3, 50):
        found = interval({"a": rng.standard_normal(8) + shift, "b": rng.standard_normal(5) + shift})
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_paired_is_the_interval_of_the_differences():
    rng = np.random.default_rng(1)
    a = {"x": rng.random(10), "y": rng.random(6)}
    b = {"y": rng.random(6), "x": rng.random(10)}
    assert paired(a, b) == interval({task: a[task] - b[task] for task in a})


def test_pairing_removes_what_both_sides_share():
    shared = np.random.default_rng(2).standard_normal(10)
    found = paired({"x": shared + 0.1 + np.array(ONE) / 100}, {"x": shared})
    assert found.high - found.low < 0.01


@pytest.mark.parametrize(
    ("a", "b"),
    [({"x": ONE}, {"y": ONE}), ({"x": ONE, "y": ONE}, {"x": ONE}), ({"x": ONE}, {"x": ONE[:5]})],
    ids=["other task", "missing task", "fewer experiments"],
)
def test_unequal_sides_are_refused(a, b):
    with pytest.raises(ValueError, match="same tasks and the same experiments"):
        paired(a, b)


@pytest.mark.parametrize("values", [{}, {"x": [0.5]}, {"x": ONE, "y": [0.5]}])
def test_too_little_for_an_interval_is_refused(values):
    with pytest.raises(ValueError, match="two experiments"):
        interval(values)


def test_without_spread_the_interval_is_the_point():
    found = interval({"a": [0.5, 0.5, 0.5]})
    assert (found.estimate, found.low, found.high, found.p) == (0.5, 0.5, 0.5, 0)


def test_no_difference_without_spread_is_no_evidence():
    found = paired({"a": ONE}, {"a": ONE})
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_task_without_spread_leaves_the_others_degrees_of_freedom():
    found = interval({"a": [0.5] * 10, "b": ONE})
    assert found.high - found.estimate == pytest.approx(stats.t.ppf(0.975, 9) * np.std(ONE, ddof=1) / 2)


def test_holm_by_hand():
    # 4 x 0.005, 3 x 0.01, then 2 x 0.03 stands above 1 x 0.04.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_passes_one_and_never_lowers_a_p():
    p = [0.9, 0.5, 0.001, 0.7]
    adjusted = holm(p)
    assert max(adjusted) <= 1
    assert all(after >= before for after, before in zip(adjusted, p, strict=True))


def test_holm_of_one_and_of_none():
    assert holm([0.02]) == pytest.approx([0.02])
    assert holm([]) == []


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_interval_covers_the_true_difference(tasks):
    """500 runs of what MTEB does: documents, two variants' scores of each, ten shared bootstrap draws."""
    rng = np.random.default_rng(3)
    truth, covered, documents = 0.05, 0, 200
    for _ in range(500):
        a, b = {}, {}
        for task in range(tasks):
            hardness = rng.standard_normal(documents)
            ours = hardness + truth + 0.5 * rng.standard_normal(documents)
            theirs = hardness + 0.5 * rng.standard_normal(documents)
            draws = rng.integers(0, documents, (10, documents))
            a[task], b[task] = ours[draws].mean(1), theirs[draws].mean(1)
        found = paired(a, b)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 500 <= 0.99
