"""Intervals: checked against scipy, against hand computation, and against what they promise."""

import numpy as np
import pytest
from promptpool.statistics.estimates import Estimate, Sample, holm, interval, outcomes, paired, ranks
from scipy import stats

ONE = [0.31, 0.35, 0.29, 0.33, 0.36, 0.30, 0.34, 0.32, 0.28, 0.37]
TWO = [0.51, 0.55, 0.52, 0.50, 0.57, 0.53, 0.54, 0.49, 0.56, 0.58]
SETS = 1 / len(ONE)


def sample(values, factor: float = 1.0) -> Sample:
    """One level of one subset; the score is the mean of its replicates."""
    values = np.asarray(values, dtype=float)
    return Sample(float(values.mean()), (values[None],), factor)


def test_a_bootstrap_replicates_spread_is_the_standard_error():
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=np.mean(ONE), scale=np.std(ONE, ddof=1))
    found = interval({"a": sample(ONE)})
    assert (found.estimate, found.low, found.high) == pytest.approx((np.mean(ONE), low, high))
    assert found.n == len(ONE)


def test_independent_sets_give_the_plain_t_interval():
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=np.mean(ONE), scale=stats.sem(ONE))
    found = interval({"a": sample(ONE, SETS)})
    assert (found.low, found.high) == pytest.approx((low, high))


def test_p_of_independent_sets_is_that_of_the_t_test():
    values = np.subtract(ONE, 0.3)
    assert interval({"a": sample(values, SETS)}).p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_p_of_paired_sets_is_that_of_the_paired_t_test():
    other = np.array(ONE)[::-1] + 0.02
    found = paired({"a": sample(other, SETS)}, {"a": sample(ONE, SETS)})
    assert found.p == pytest.approx(stats.ttest_rel(other, ONE).pvalue)


def test_two_tasks_of_one_set_each_give_welchs_t_test():
    # The difference of two means is twice the mean of one and the other's negative.
    few = TWO[:6]
    found = interval({"a": sample(ONE, SETS), "b": sample(np.negative(few), 1 / 6)})
    welch = stats.ttest_ind(ONE, few, equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    low, high = welch.confidence_interval(0.95)
    assert (2 * found.low, 2 * found.high) == pytest.approx((low, high))


def test_tasks_weigh_the_same_whatever_their_experiments():
    assert interval({"a": sample([0.0, 0.2]), "b": sample([0.9, 1.0, 1.1, 1.0])}).estimate == pytest.approx(0.55)


def test_the_estimate_need_not_be_the_mean_of_the_replicates():
    found = interval({"a": Sample(0.4, (np.array([ONE]),), 1.0)})
    assert found.estimate == 0.4 and found.high - 0.4 == pytest.approx(0.4 - found.low)


def test_the_order_of_tasks_does_not_matter():
    one, two = sample(ONE), sample(TWO)
    assert vars(interval({"a": one, "b": two})) == pytest.approx(vars(interval({"b": two, "a": one})))


def test_levels_of_one_task_are_not_taken_for_independent():
    alone = interval({"a": sample(ONE)})
    twice = interval({"a": Sample(float(np.mean(ONE)), (np.array([ONE, ONE]),), 1.0)})
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))


def test_levels_apart_do_not_widen_an_interval():
    levels = np.array([ONE, np.add(ONE, 0.5)])
    found = interval({"a": Sample(float(levels.mean()), (levels,), 1.0)})
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 9) * np.std(ONE, ddof=1))


def test_subsets_have_documents_of_their_own():
    halves = Sample(0.4, (np.array([ONE]), np.array([TWO])), 1.0)
    as_tasks = interval({"a": Sample(0.4, (np.array([ONE]),)), "b": Sample(0.4, (np.array([TWO]),))})
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


@pytest.mark.parametrize("unknown", [Sample(0.5), sample([0.5]), sample(ONE, float("nan"))])
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


def test_ranks_by_hand():
    table = {"x": [0.9, 0.2], "y": [0.5, 0.2], "z": [0.1, 0.1]}
    competitors = {
        name: {task: Sample(score, (np.full((1, 10), score),)) for task, score in zip("ab", scores, strict=True)}
        for name, scores in table.items()
    }
    found = ranks(competitors)
    assert [found[name].rank for name in "xyz"] == [1.25, 1.75, 3]
    assert [found[name].best for name in "xyz"] == [2, 1, 0]
    assert [found[name].p_best for name in "xyz"] == [1, 0, 0]
    assert (found["z"].low, found["z"].high) == (3, 3)


def test_ranks_of_equals_are_uncertain_and_of_unequals_are_not():
    rng = np.random.default_rng(5)
    noise = {task: rng.normal(0, 0.02, (3, 1, 10)) for task in "abcd"}
    level = {"x": 0.5, "y": 0.5, "far": 0.2}
    competitors = {
        name: {task: sample((level[name] + values[i])[0]) for task, values in noise.items()}
        for i, name in enumerate(level)
    }
    found = ranks(competitors)
    assert found["x"].low < found["x"].rank < found["x"].high or found["y"].low < found["y"].rank < found["y"].high
    assert (found["far"].low, found["far"].high, found["far"].p_best) == (3, 3, 0)
    assert found["x"].p_best + found["y"].p_best == pytest.approx(1) and 0.02 < found["x"].p_best < 0.98
    assert ranks(competitors) == found  # seeded


def test_ranks_without_a_spread_have_no_interval():
    found = ranks({"x": {"a": Sample(0.2)}, "y": {"a": Sample(0.1)}})
    assert (found["x"].rank, found["x"].best) == (1, 1) and np.isnan([found["x"].low, found["x"].p_best]).all()


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize(("documents", "drawn"), [(200, 200), (200, 1600), (400, 100)])
def test_the_interval_covers_the_true_difference(tasks, documents, drawn):
    """500 runs of what MTEB does: documents, two variants' scores of each, ten shared draws of `drawn` of them."""
    rng = np.random.default_rng(3)
    truth, covered = 0.05, 0
    for _ in range(500):
        a, b = {}, {}
        for task in range(tasks):
            hardness = rng.standard_normal(documents)
            ours = hardness + truth + 0.5 * rng.standard_normal(documents)
            theirs = hardness + 0.5 * rng.standard_normal(documents)
            draws = rng.integers(0, documents, (10, drawn))
            factor = drawn / documents + 1 / 10
            a[task], b[task] = sample(ours[draws].mean(1), factor), sample(theirs[draws].mean(1), factor)
        found = paired(a, b)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 500 <= 0.985
