"""Poolings: a mask in, a float32 vector out, wherever the padding is."""

import pytest
import torch
from plain_pooling import pool
from promptpool.embedding.pooling import BY_NAME, POOLINGS, last_index

DIM, TOKENS, PADDING = 6, 5, 3


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(2, TOKENS, DIM, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.rand(2, TOKENS, generator=torch.Generator().manual_seed(1)).softmax(1)


def padded(
    states: torch.Tensor, weights: torch.Tensor, left: int, right: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same tokens with padding that would spoil any vector that reads it."""
    rows = len(states)
    junk = [torch.full((rows, width, DIM), 1e3) for width in (left, right)]
    mask = torch.cat([torch.zeros(rows, left), torch.ones(rows, TOKENS), torch.zeros(rows, right)], 1).long()
    spread = torch.cat([torch.full((rows, left), 0.5), weights, torch.full((rows, right), 0.5)], 1)
    return torch.cat([junk[0], states, junk[1]], 1), mask, spread


@pytest.mark.parametrize("mask_type", [torch.long, torch.bool, torch.float32])
@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_ignores_padding_side(name, states, weights, mask_type):
    found = []
    for left, right in ((0, 0), (PADDING, 0), (0, PADDING), (2, 1)):
        hidden, mask, spread = padded(states, weights, left, right)
        found.append(pool(name, hidden, mask.to(mask_type), spread))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_ignores_holes_in_the_mask(name, states, weights):
    # A packed row: one branch's tokens stand between the trunk and another's.
    keep = torch.tensor([0, 1, 4])
    mask = torch.zeros(2, TOKENS, dtype=torch.bool)
    mask[:, keep] = True
    plain = pool(name, states[:, keep], torch.ones(2, 3, dtype=torch.bool), weights[:, keep])
    torch.testing.assert_close(pool(name, states, mask, weights), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_vectors_are_float32_even_of_half_precision(name, states, weights):
    mask = torch.ones(2, TOKENS, dtype=torch.long)
    half = states.bfloat16()
    found = pool(name, half, mask, weights.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pool(name, half.float(), mask, weights.bfloat16().float()))


@pytest.mark.parametrize("name", POOLINGS)
def test_vectors_have_the_width_of_the_states(name, states, weights):
    found = pool(name, states, torch.ones(2, TOKENS, dtype=torch.long), weights)
    assert found.shape == (2, DIM * (2 if name == "concat" else 1))


def test_mean_by_hand():
    hidden = torch.tensor([[[1.0], [2.0], [6.0], [100.0]]])
    assert pool("mean", hidden, torch.tensor([[1, 1, 1, 0]])).item() == pytest.approx(3)


def test_weighted_mean_by_hand():
    hidden = torch.tensor([[[100.0], [1.0], [2.0], [6.0]]])
    # The real tokens weigh 1, 2 and 3, though the first of them stands second.
    assert pool("weighted", hidden, torch.tensor([[0, 1, 1, 1]])).item() == pytest.approx((1 + 4 + 18) / 6)


def test_weighted_mean_is_sgpt_where_padding_is_on_the_right(states, weights):
    # SGPT counts positions from the left edge, which is right for right padding only.
    hidden, mask, _ = padded(states, weights, 0, PADDING)
    position = torch.arange(1, hidden.shape[1] + 1).float()
    share = position * mask
    sgpt = (hidden * (share / share.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)
    torch.testing.assert_close(pool("weighted", hidden, mask), sgpt)


def test_max_reads_no_padding():
    hidden = torch.tensor([[[-5.0, -1.0], [-2.0, -3.0], [9.0, 9.0]]])
    assert pool("max", hidden, torch.tensor([[1, 1, 0]])).tolist() == [[-2, -1]]


@pytest.mark.parametrize("name", ["last", "eos"])
def test_last_and_eos_are_the_last_state_of_the_mask(name, states):
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    torch.testing.assert_close(pool(name, states, mask), torch.stack([states[0, 2], states[1, 4]]))


def test_the_last_place_is_found_behind_holes():
    assert last_index(torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 1, 1]])).tolist() == [2, 0, 3]


def test_concat_is_last_then_mean(states):
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    parts = torch.cat([pool("last", states, mask), pool("mean", states, mask)], 1)
    torch.testing.assert_close(pool("concat", states, mask), parts)


def test_attention_by_hand_leaves_the_sink_out():
    hidden = torch.tensor([[[100.0], [1.0], [3.0]]])
    weights = torch.tensor([[0.9, 0.025, 0.075]])
    assert pool("attention", hidden, torch.ones(1, 3), weights).item() == pytest.approx(2.5)


def test_the_sink_is_the_first_token_that_counts():
    hidden = torch.tensor([[[7.0], [100.0], [1.0], [3.0]]])
    weights = torch.tensor([[0.4, 0.4, 0.1, 0.1]])
    assert pool("attention", hidden, torch.tensor([[0, 1, 1, 1]]), weights).item() == pytest.approx(2)


def test_a_lone_token_is_kept_though_it_is_the_sink():
    hidden = torch.tensor([[[7.0], [4.0]]])
    assert pool("attention", hidden, torch.tensor([[0, 1]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(4)


def test_attention_without_its_weights_is_an_error(states):
    with pytest.raises(ValueError, match="attention"):
        pool("attention", states, torch.ones(2, TOKENS))


def test_every_pooling_of_the_config_is_here():
    assert set(POOLINGS) == {*BY_NAME, "attention"}
