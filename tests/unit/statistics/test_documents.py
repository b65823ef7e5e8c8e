"""Replicates of V-measure over documents, and what an interval from them promises when k-means has its part."""

import random

import numpy as np
import pytest
from promptpool.statistics.bootstrap import REPLICATES
from promptpool.statistics.documents import document_counts, of_clusters, weighted_v_measures
from promptpool.statistics.estimates import Part, Sample, paired
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import v_measure_score

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 7, 300)
STUDIES = 60
CLUSTERS = np.where(RNG.random(300) < 0.6, LABELS, RNG.integers(0, 9, 300))


def test_each_column_is_scikit_learns_v_measure_of_the_drawn_documents():
    rows = RNG.integers(0, 300, 500)  # with documents drawn twice, and some never
    counts = document_counts(300, "here")
    found = weighted_v_measures(LABELS[rows], CLUSTERS[rows], rows, counts)
    for column in (0, 1, REPLICATES):
        repeated = np.repeat(rows, counts[rows, column])
        assert found[column] == pytest.approx(v_measure_score(LABELS[repeated], CLUSTERS[repeated]), abs=1e-6)


@pytest.mark.parametrize(("labels", "clusters"), [([0] * 9, [0] * 9), (range(9), range(9)), ([0] * 9, range(9))])
def test_without_labels_or_with_one_cluster_each_it_is_scikit_learns_too(labels, clusters):
    labels, clusters = np.array(labels), np.array(clusters)
    found = weighted_v_measures(labels, clusters, np.arange(9), np.ones((9, 1), np.uint8))
    assert found[0] == pytest.approx(v_measure_score(labels, clusters), abs=1e-6)


def test_counts_are_the_bootstraps_and_the_first_column_is_the_documents_as_they_are():
    counts = document_counts(50, "here")
    assert counts.shape == (50, 1 + REPLICATES) and (counts[:, 0] == 1).all() and (counts.sum(axis=0) == 50).all()
    assert counts[:, 1:].var() == pytest.approx(1 - 1 / 50, rel=0.1)


def test_counts_follow_the_place_alone():
    one, again, other = (document_counts(50, place) for place in ("here", "here", "there"))
    assert (one == again).all() and (one[:, 1:] != other[:, 1:]).mean() > 0.3


def test_a_replicate_moves_as_much_as_the_score_with_other_documents():
    """Where the clusters are given, the spread over documents is all there is."""

    def draw(rng):
        labels = rng.integers(0, 5, 400)
        return labels, np.where(rng.random(400) < 0.7, labels, rng.integers(0, 5, 400))

    rng = np.random.default_rng(4)
    true = np.std([v_measure_score(*draw(rng)) for _ in range(300)])
    labels, clusters = draw(rng)
    found = of_clusters([labels], [clusters], [np.arange(400)], document_counts(400, "here"))[0, 1:]
    assert found.std() == pytest.approx(true, rel=0.25)


def study(rng: np.random.Generator, drawn: int, shift: float) -> tuple[dict, dict]:
    """Two variants of one task, scored as MTEB does: ten draws with replacement, one k-means each."""
    documents, topics = 240, 6
    labels = rng.integers(0, topics, documents)
    base = np.eye(topics, 8)[labels] * 2.2 + rng.standard_normal((documents, 8))
    counts, sides = document_counts(documents, str(rng.integers(2**60))), []
    for noise in (0.5, 0.5 + shift):
        matrix = (base + noise * rng.standard_normal(base.shape)).astype(np.float32)
        state, rows, clusters = random.Random(42), [], []
        for _ in range(10):
            rows.append(np.array(state.choices(range(documents), k=drawn)))
            means = MiniBatchKMeans(topics, batch_size=512, n_init=1, random_state=42)
            clusters.append(means.fit_predict(matrix[rows[-1]]))
        values = of_clusters([labels[own] for own in rows], clusters, rows, counts)
        part = Part(values[None, :, 0], values[:, 1:].mean(axis=0), held=True)
        sides.append({"": Sample(values[:, 0].mean(), (part,))})
    return sides[0], sides[1]


@pytest.mark.parametrize("drawn", [240, 1200])
def test_the_interval_covers_the_true_difference_and_finds_a_large_one(drawn):
    """Studies with k-means in them. tests/bench/bench_intervals.py does this at length."""
    rng = np.random.default_rng(3)
    found = [paired(*study(rng, drawn, 0.6)) for _ in range(STUDIES)]
    truth = np.mean([one.estimate for one in found])
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.88 <= covered <= 0.995  # 0.92 to 0.98, and two standard errors of so many studies
    # Not four times too wide either, as s^2 (m / n + 1 / 10) is at 1200 draws.
    assert np.mean([one.error**2 for one in found]) < 1.7 * np.var([one.estimate for one in found])
