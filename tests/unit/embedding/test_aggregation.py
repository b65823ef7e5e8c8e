"""Aggregations: several readouts, each post-processed, side by side."""

import numpy as np
import pytest
from promptpool.embedding.aggregation import AggregatedPart, Aggregation
from promptpool.embedding.post_processing import affine_of, fit

LAST, FIRST = ("cluster", "last", -1), ("cluster", "weighted", 1)


@pytest.fixture
def stored() -> dict:
    draw = np.random.default_rng(0)
    return {key: (draw.normal(size=(50, 6)) * scale + 3).astype(np.float32) for key, scale in ((LAST, 1), (FIRST, 20))}


@pytest.fixture
def known(stored) -> dict:
    return {key: fit(rows) for key, rows in stored.items()}


def two(scale: str, *weights: float) -> Aggregation:
    parts = (AggregatedPart("last", -1, "center", weights[0]), AggregatedPart("weighted", 1, "zscore", weights[1]))
    return Aggregation("both", -1, parts, scale)


def test_one_part_without_a_scale_is_its_post_processing(stored, known):
    readout = Aggregation("last+center", -1, (AggregatedPart("last", -1, "center"),), None)
    assert np.array_equal(readout.read("cluster", stored, known), affine_of("center", known[LAST]).apply(stored[LAST]))


def test_parts_of_each_text_have_their_weights_as_lengths(stored, known):
    """However long a part's own vectors are; the whole has length 1."""
    found = two("text", 3, 1).read("cluster", stored, known)
    assert found.shape == (50, 12)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.allclose(np.linalg.norm(found[:, :6], axis=1) / np.linalg.norm(found[:, 6:], axis=1), 3, atol=1e-4)
    one = affine_of("center", known[LAST]).apply(stored[LAST])
    assert np.allclose(found[:, :6] / one, (found[:, :6] / one)[:, :1], rtol=1e-3)


def test_scaled_by_the_corpus_a_part_keeps_its_own_lengths(stored, known):
    found = two("corpus", 1, 1).read("cluster", stored, known)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    ratio = np.linalg.norm(found[:, :6], axis=1) / np.linalg.norm(found[:, 6:], axis=1)
    raw = [np.linalg.norm(affine_of(name, known[key]).apply(stored[key]), axis=1)
           for name, key in (("center", LAST), ("zscore", FIRST))]  # fmt: skip
    assert np.allclose(ratio / (raw[0] / raw[1]), (ratio / (raw[0] / raw[1]))[0], rtol=1e-4)
    assert np.median(ratio) == pytest.approx(1, abs=0.3)


def test_a_corpus_scaled_aggregation_is_one_linear_layer_and_a_length(stored, known):
    """What makes it exportable with stock modules."""
    readout = two("corpus", 2, 1)
    weight, bias = readout.dense("cluster", known)
    raw = np.hstack([stored[LAST], stored[FIRST]]) @ weight.T + bias
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(raw, readout.read("cluster", stored, known), atol=1e-5)


def test_a_vector_of_zeros_stays_one(stored, known):
    still = {key: np.zeros_like(rows) for key, rows in stored.items()}
    flat = {key: fit(rows) for key, rows in still.items()}
    assert np.array_equal(two("text", 1, 1).read("cluster", still, flat), np.zeros((50, 12), np.float32))


def test_a_readout_follows_its_spec(stored, known):
    spec = {"name": "both", "layer": -1, "scale": "text", "parts": [
        {"pooling": "last", "layer": -1, "post_processing": "center", "weight": 1},
        {"pooling": "weighted", "layer": 1, "post_processing": "zscore", "weight": 1}]}  # fmt: skip
    readout = Aggregation.of(spec)
    assert np.array_equal(readout.read("cluster", stored, known), two("text", 1, 1).read("cluster", stored, known))
