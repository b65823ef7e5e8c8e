"""Label-free criteria: what each says of vectors whose quality is known."""

import numpy as np
import pytest
from promptpool.choice.criteria import CRITERIA, criteria_of, effective_rank
from promptpool.scoring.pair_retrieval import cosine_likeness, found_partners


def pairs(noise: float, n: int = 60, dim: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    texts = draw.standard_normal((n, dim))
    return texts, texts + noise * draw.standard_normal((n, dim)), np.zeros((n, n), bool)


def test_every_criterion_but_the_rank_prefers_closer_pairs():
    near, far = criteria_of(*pairs(0.4)), criteria_of(*pairs(3.0))
    assert set(near) == set(CRITERIA)
    for name in ("accuracy", "mrr", "margin", "alignment-uniformity"):
        assert near[name].estimate > far[name].estimate, name
        assert near[name].low < near[name].estimate < near[name].high or near[name].estimate == 1
    assert np.isnan(near["effective-rank"].low)


def test_accuracy_is_the_verdicts_recall_and_mrr_its_rank():
    texts, positives, copies = pairs(1.5)
    copies[0, 1] = True
    found = criteria_of(texts, positives, copies)
    likeness = cosine_likeness(texts, positives)
    assert found["accuracy"].estimate == pytest.approx(found_partners(likeness, copies)["recall@1"].mean())
    ranks = 1 + np.array([
        sum(likeness[i, j] > likeness[i, i] for j in range(60) if j != i and not copies[i, j]) for i in range(60)
    ])  # fmt: skip
    assert found["mrr"].estimate == pytest.approx((1 / ranks).mean())


def test_equal_vectors_find_nothing_and_have_one_direction():
    found = criteria_of(np.ones((30, 4)), np.ones((30, 4)), np.zeros((30, 30), bool))
    assert found["accuracy"].estimate == pytest.approx(1 / 30) and found["effective-rank"].estimate == pytest.approx(1)
    assert found["mrr"].estimate == pytest.approx((1 / np.arange(1, 31)).mean())
    assert abs(found["margin"].estimate) < 1e-3 and found["alignment-uniformity"].estimate == pytest.approx(0)


def test_the_effective_rank_counts_equal_directions():
    assert effective_rank(np.eye(8)) == pytest.approx(8)
    assert effective_rank(np.zeros((4, 3))) == pytest.approx(1)


def test_uniformity_is_wang_and_isolas():
    """Against the definition, over all pairs of texts that are no partners."""
    texts, positives, copies = pairs(1.0, n=12, dim=5)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (texts, positives)]
    all_texts, owner = np.vstack(unit), np.tile(np.arange(12), 2)
    squares = ((all_texts[:, None] - all_texts[None]) ** 2).sum(-1)
    apart = owner[:, None] != owner[None]
    expected = -(((unit[0] - unit[1]) ** 2).sum(1).mean() + np.log(np.exp(-2 * squares[apart]).mean()))
    assert criteria_of(texts, positives, copies)["alignment-uniformity"].estimate == pytest.approx(expected)
