"""Intervals: checked against scipy, against hand computation, and against what they promise."""

import numpy as np
import pytest
from promptpool.statistics.estimates import HELD, Estimate, Part, Sample, holm, interval, outcomes, paired
from scipy import stats

ONE = [0.31, 0.35, 0.29, 0.33, 0.36, 0.30, 0.34, 0.32, 0.28, 0.37]
TWO = [0.51, 0.55, 0.52, 0.50, 0.57, 0.53, 0.54, 0.49, 0.56, 0.58]


def resampled(values, score: float | None = None) -> Part:
    """A single number with these bootstrap replicates."""
    values = np.asarray(values, dtype=float)
    return Part(np.array([[values.mean() if score is None else score]]), values)


def sample(values) -> Sample:
    """A score whose replicates are these; it is their mean."""
    return Sample(float(np.mean(values)), (resampled(values),))


def sets(values) -> Sample:
    """The mean of independent experiments."""
    return Sample(float(np.mean(values)), (Part(np.asarray(values, dtype=float)[None]),))


def test_a_bootstrap_replicates_spread_is_the_standard_error():
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=np.mean(ONE), scale=np.std(ONE, ddof=1))
    found = interval({"a": sample(ONE)})
    assert (found.estimate, found.low, found.high) == pytest.approx((np.mean(ONE), low, high))
    assert found.n == len(ONE)


def test_independent_sets_give_the_plain_t_interval():
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=np.mean(ONE), scale=stats.sem(ONE))
    found = interval({"a": sets(ONE)})
    assert (found.low, found.high) == pytest.approx((low, high))


def test_p_of_independent_sets_is_that_of_the_t_test():
    values = np.subtract(ONE, 0.3)
    assert interval({"a": sets(values)}).p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_p_of_paired_sets_is_that_of_the_paired_t_test():
    other = np.array(ONE)[::-1] + 0.02
    found = paired({"a": sets(other)}, {"a": sets(ONE)})
    assert found.p == pytest.approx(stats.ttest_rel(other, ONE).pvalue)


def test_two_tasks_of_one_set_each_give_welchs_t_test():
    # The difference of two means is twice the mean of one and the other's negative.
    few = TWO[:6]
    found = interval({"a": sets(ONE), "b": sets(np.negative(few))})
    welch = stats.ttest_ind(ONE, few, equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    low, high = welch.confidence_interval(0.95)
    assert (2 * found.low, 2 * found.high) == pytest.approx((low, high))


def test_tasks_weigh_the_same_whatever_their_experiments():
    assert interval({"a": sample([0.0, 0.2]), "b": sample([0.9, 1.0, 1.1, 1.0])}).estimate == pytest.approx(0.55)


def test_the_estimate_need_not_be_the_mean_of_the_replicates():
    found = interval({"a": Sample(0.4, (resampled(ONE),))})
    assert found.estimate == 0.4 and found.high - 0.4 == pytest.approx(0.4 - found.low)


def test_the_order_of_tasks_does_not_matter():
    one, two = sample(ONE), sample(TWO)
    assert vars(interval({"a": one, "b": two})) == pytest.approx(vars(interval({"b": two, "a": one})))


def test_both_sources_of_error_are_added():
    part = Part(np.array([ONE]), np.array(TWO), held=True)
    (found,), (documents, runs) = (
        [interval({"a": Sample(0.3, (part,))})],
        (HELD * np.var(TWO, ddof=1), np.var(ONE, ddof=1) / 10),
    )
    assert found.error == pytest.approx(np.sqrt(documents + runs))
    freedom = (documents + runs) ** 2 / ((documents**2 + runs**2) / 9)
    assert found.high - 0.3 == pytest.approx(stats.t.ppf(0.975, freedom) * found.error)


def test_replicates_that_hold_no_clusters_count_in_full():
    many = np.random.default_rng(0).standard_normal(200)
    free, held = (Sample(0.0, (Part(np.zeros((1, 10)), many, held),)).variance()[1] for held in (False, True))
    assert (free, held) == pytest.approx((199, 9))


def test_levels_have_runs_of_their_own_and_share_their_documents():
    runs = np.array([ONE, TWO])
    squares, _ = Part(runs, np.array(ONE)).variances()
    assert squares == pytest.approx([np.var(ONE, ddof=1), np.var(ONE, ddof=1) / 40, np.var(TWO, ddof=1) / 40])


def test_errors_squared_add_up_to_the_variance():
    part = Part(np.array([ONE, TWO]), np.array(TWO))
    both = Sample(0.4, (part, Part(np.array([TWO]), np.array(ONE), held=True)))
    assert np.sum(both.errors() ** 2) == pytest.approx(both.variance()[0])


def test_subsets_have_documents_of_their_own():
    halves = Sample(0.4, (resampled(ONE), resampled(TWO)))
    as_tasks = interval({"a": Sample(0.4, (resampled(ONE),)), "b": Sample(0.4, (resampled(TWO),))})
    assert vars(interval({"a": halves})) == pytest.approx(vars(as_tasks))


def test_p_is_under_five_percent_exactly_where_the_interval_leaves_zero_out():
    rng = np.random.default_rng(0)
    for shift in np.linspace(-3, 3, 50):
        found = interval({"a": sample(rng.standard_normal(8) + shift), "b": sample(rng.standard_normal(5) + shift)})
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_pairing_removes_what_both_sides_share():
    shared = np.random.default_rng(2).standard_normal(10)
    found = paired({"x": sample(shared + 0.1 + np.array(ONE) / 100)}, {"x": sample(shared)})
    assert found.high - found.low < 0.01


@pytest.mark.parametrize(
    ("a", "b"),
    [({"x": ONE}, {"y": ONE}), ({"x": ONE, "y": ONE}, {"x": ONE}), ({"x": ONE}, {"x": ONE[:5]})],
    ids=["other task", "missing task", "fewer experiments"],
)
def test_unequal_sides_are_refused(a, b):
    a, b = ({task: sample(values) for task, values in side.items()} for side in (a, b))
    with pytest.raises(ValueError, match="same tasks and the same experiments"):
        paired(a, b)


def test_no_task_is_refused():
    with pytest.raises(ValueError, match="at least one task"):
        interval({})


@pytest.mark.parametrize("unknown", [Sample(0.5), sets([0.5]), Sample(0.3, (resampled(ONE),), known=False)])
def test_a_task_of_unknown_spread_leaves_the_mean_without_an_interval(unknown):
    found = interval({"a": sample(ONE), "b": unknown})
    assert found.estimate == pytest.approx((np.mean(ONE) + unknown.estimate) / 2)
    assert np.isnan([found.low, found.high, found.p]).all()


def test_without_spread_the_interval_is_the_point():
    found = interval({"a": sample([0.5, 0.5, 0.5])})
    assert (found.estimate, found.low, found.high, found.p) == (0.5, 0.5, 0.5, 0)


def test_no_difference_without_spread_is_no_evidence():
    found = paired({"a": sample(ONE)}, {"a": sample(ONE)})
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_task_without_spread_leaves_the_others_degrees_of_freedom():
    found = interval({"a": sample([0.5] * 10), "b": sample(ONE)})
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


def test_what_has_no_p_is_no_member_of_holms_family():
    found = holm([0.01, float("nan"), 0.03])
    assert found[::2] == pytest.approx([0.02, 0.03]) and np.isnan(found[1])


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(4)
    wrong = [min(holm(rng.random(8).tolist())) < 0.05 for _ in range(4000)]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.012)


def test_wins_ties_and_losses():
    given = [(0.1, 0.3), (0.2, 0.4), (-0.1, 0.1), (float("nan"), float("nan")), (-0.3, -0.1)]
    assert outcomes([Estimate(0, low, high, 1, 1) for low, high in given]) == (2, 2, 1)
