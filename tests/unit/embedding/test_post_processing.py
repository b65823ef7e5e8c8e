"""Post-processings: what each does to vectors, and that its affine map is the same."""

import numpy as np
import pytest
from promptpool.embedding.post_processing import affine_of, fit, read_statistics, write_statistics
from promptpool.errors import PromptpoolError
from promptpool.variants import readout_name, split_readout

NAMES = ("none", "center", "zscore", "soft-whiten(0.5)", "soft-whiten(1)", "remove-top(2)")


@pytest.fixture
def vectors() -> np.ndarray:
    """600 vectors of 8 dimensions with very different spreads, not along the axes, far from the origin."""
    draw = np.random.default_rng(0)
    turned = np.linalg.qr(draw.normal(size=(8, 8)))[0]
    spread = np.array([9, 4, 2, 1, 1, 0.7, 0.5, 0.4])
    return ((draw.normal(size=(600, 8)) * spread) @ turned + 5).astype(np.float32)


def test_center_moves_the_mean_to_zero_and_keeps_differences(vectors):
    found = affine_of("center", fit(vectors)).apply(vectors)
    assert np.abs(found.mean(0)).max() < 1e-5
    assert np.allclose(found[0] - found[1], vectors[0] - vectors[1], atol=1e-5)


def test_zscore_gives_every_dimension_the_spread_one(vectors):
    found = affine_of("zscore", fit(vectors)).apply(vectors)
    assert np.allclose(found.std(0), 1, atol=1e-5)


def test_soft_whitening_takes_a_power_of_the_spread_along_each_axis(vectors):
    before = np.linalg.eigvalsh(np.cov(vectors.T))
    for gamma in (0.5, 1):
        found = affine_of(f"soft-whiten({gamma})", fit(vectors)).apply(vectors)
        after = np.linalg.eigvalsh(np.cov(found.T))
        assert np.allclose(np.sort(before ** (1 - gamma)), after, rtol=2e-3), gamma


def test_remove_top_leaves_nothing_along_the_widest_axes_and_all_along_the_others(vectors):
    found = affine_of("remove-top(2)", fit(vectors)).apply(vectors)
    before, after = (np.linalg.eigvalsh(np.cov(rows.T)) for rows in (vectors, found))
    assert np.abs(after[:2]).max() < 1e-6
    assert np.allclose(after[2:], before[:-2], rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_of_weights_and_biases_gives_the_same(name, vectors):
    """What an export holds: one matrix and one bias."""
    found = affine_of(name, fit(vectors))
    weight, bias = found.dense(8)
    assert np.allclose(vectors @ weight.T + bias, found.apply(vectors), atol=1e-4)


def test_an_axis_that_no_fitted_text_used_is_not_blown_up():
    """With fewer texts than dimensions most axes have no spread; a new text may lie along one."""
    draw = np.random.default_rng(1)
    found = affine_of("soft-whiten(1)", fit(draw.normal(size=(20, 64)).astype(np.float32)))
    new = found.apply(draw.normal(size=(5, 64)).astype(np.float32))
    assert np.isfinite(new).all()
    assert np.abs(new).max() < 40


def test_texts_that_span_few_axes_leave_float32_enough_digits():
    """A thousandth of the widest spread is the least: rounding of the vectors must not show afterwards."""
    draw = np.random.default_rng(2)
    few = (draw.normal(size=(40, 3)) @ draw.normal(size=(3, 64)) + 4).astype(np.float32)
    mapped = affine_of("soft-whiten(1)", fit(few))
    other = mapped.apply(few + draw.normal(size=few.shape).astype(np.float32) * 1e-6)
    assert np.abs(mapped.apply(few) - other).max() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_vectors_that_are_all_the_same_stay_finite(name):
    """As of a prompt's last token at a layer that has not seen the text."""
    vectors = np.full((30, 4), 2.0, dtype=np.float32)
    assert np.isfinite(affine_of(name, fit(vectors)).apply(vectors)).all()


def test_the_typical_length_is_that_of_the_fitted_vectors(vectors):
    known = fit(vectors)
    for name in NAMES:
        found = affine_of(name, known)
        lengths = np.linalg.norm(found.apply(vectors), axis=1)
        assert found.typical_length == pytest.approx(np.sqrt((lengths**2).mean()), rel=5e-3), name


def test_statistics_survive_their_file(tmp_path, vectors):
    key = ("cluster", "last", -1)
    write_statistics(tmp_path / "fit.safetensors", {key: fit(vectors)})
    known = read_statistics(tmp_path / "fit.safetensors")
    assert list(known) == [key]
    assert known[key].texts == 600
    for name in NAMES:
        assert np.allclose(affine_of(name, known[key]).apply(vectors), affine_of(name, fit(vectors)).apply(vectors))


def test_one_text_has_no_spread():
    with pytest.raises(PromptpoolError, match="at least two texts"):
        fit(np.ones((1, 4), dtype=np.float32))


def test_names_join_and_split():
    assert readout_name("last") == "last"
    assert readout_name("mean:text", "soft-whiten(0.5)") == "mean:text+soft-whiten(0.5)"
    for pooling, post in (("last", "none"), ("mean:text", "soft-whiten(0.5)"), ("semantic", "none")):
        assert split_readout(readout_name(pooling, post)) == (pooling, post)
