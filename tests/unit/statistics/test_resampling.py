"""Bootstrap replicates of scores: the statistic is scikit-learn's and scipy's, the spread is the textbook's."""

import numpy as np
import pytest
from promptpool.statistics import bootstrap as resampling
from promptpool.statistics.bootstrap import REPLICATES, SEED, of_classes, of_correlation, of_pair_classes, of_queries
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score

RNG = np.random.default_rng(0)
GOLD = RNG.integers(0, 6, 150).astype(float)  # with ties, as people's marks have
NEAR = GOLD + RNG.normal(0, 2, 150)


def draws(units: int) -> list[np.ndarray]:
    rng = np.random.default_rng(SEED)
    return [rng.integers(0, units, units) for _ in range(REPLICATES)]


@pytest.mark.parametrize(("metric", "theirs"), [("cosine_spearman", spearmanr), ("cosine_pearson", pearsonr)])
def test_correlations_are_scipys(metric, theirs):
    found = of_correlation(metric, GOLD, {"cosine_scores": NEAR})
    np.testing.assert_allclose(found, [theirs(GOLD[d], NEAR[d])[0] for d in draws(150)], atol=1e-12)


def test_draws_that_do_not_fit_at_once_are_the_same(monkeypatch):
    labels, predicted = RNG.integers(0, 2, 150), {"cosine_scores": NEAR}
    whole = [of_correlation("cosine_spearman", GOLD, predicted), of_pair_classes("cosine_ap", labels, predicted)]
    monkeypatch.setattr(resampling, "MOST_NUMBERS", 1000)
    parts = [of_correlation("cosine_spearman", GOLD, predicted), of_pair_classes("cosine_ap", labels, predicted)]
    np.testing.assert_allclose(whole, parts, atol=1e-14)


def test_average_precision_is_scikit_learns():
    labels, scores = RNG.integers(0, 2, 150), NEAR.round(1)  # with ties
    found = of_pair_classes("cosine_ap", labels, {"cosine_scores": scores})
    np.testing.assert_allclose(found, [average_precision_score(labels[d], scores[d]) for d in draws(150)], atol=1e-12)


def test_the_best_similarity_is_taken_in_every_draw():
    labels = RNG.integers(0, 2, 150)
    predicted = {key: RNG.normal(labels, 2) for key in resampling.PAIR_SCORES.values()}
    single = [of_pair_classes(f"{name}_ap", labels, predicted) for name in resampling.PAIR_SCORES]
    np.testing.assert_array_equal(of_pair_classes("max_ap", labels, predicted), np.max(single, axis=0))


def test_macro_f1_is_scikit_learns(monkeypatch):
    monkeypatch.setattr(
        resampling, "replicates", lambda units, score: [score(d, np.random.default_rng(1)) for d in draws(units)]
    )
    gold = RNG.integers(0, 4, 60).tolist()
    guess = [[int(g) if RNG.random() < 0.6 else 4 for g in gold]]
    wanted = [f1_score(np.array(gold)[d], np.array(guess[0])[d], average="macro") for d in draws(60)]
    np.testing.assert_allclose(of_classes("f1", gold, guess), wanted, atol=1e-12)


def test_a_means_spread_is_its_standard_error():
    values = RNG.random(400)
    assert of_queries(values).std() == pytest.approx(values.std() / 20, rel=0.15)


def test_accuracys_spread_is_that_of_its_test_texts():
    gold = np.zeros(400, int)
    same_runs = [(RNG.random(400) < 0.3).astype(int).tolist()] * 10
    assert of_classes("accuracy", gold.tolist(), same_runs).std() == pytest.approx(np.sqrt(0.3 * 0.7 / 400), rel=0.2)
    other_runs = [(RNG.random(400) < 0.3).astype(int).tolist() for _ in range(10)]
    averaged = of_classes("accuracy", gold.tolist(), other_runs).std()
    assert averaged == pytest.approx(np.sqrt(0.3 * 0.7 / 4000), rel=0.25)


def test_labels_may_be_text():
    assert of_classes("accuracy", ["a", "b"] * 20, [["a", "b"] * 20]).tolist() == [1.0] * REPLICATES


@pytest.mark.parametrize(
    "found",
    [
        of_correlation("cosine_kendall", GOLD, {"cosine_scores": NEAR}),
        of_correlation("cosine_spearman", GOLD, {}),
        of_pair_classes("max_accuracy", [0, 1], {}),
        of_classes("ap", [0, 1], [[0, 1]]),
    ],
)
def test_a_score_that_is_not_understood_has_no_replicates(found):
    assert found is None
