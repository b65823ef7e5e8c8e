"""Draws by one number a row: the same token whatever is looked at first, within the nucleus, by its shares."""

import numpy as np
import pytest
import torch
from promptpool.generation.inside_vllm import seeded_draws
from promptpool.generation.inside_vllm.seeded_draws import drawn, nucleus, number_rows, only, uniforms
from scipy.stats import chi2_contingency, chisquare


@pytest.mark.parametrize("few", [4, 1024])
def test_the_nucleus_is_the_fewest_likeliest_tokens_that_reach_top_p(few):
    rows = torch.tensor([[0.05, 0.8, 0.1, 0.05], [0.2, 0.3, 0.25, 0.25]])
    tokens, shares = nucleus(rows, 0.75, few)
    kept = [{int(t) for t, s in zip(*row, strict=True) if s > 0} for row in zip(tokens, shares, strict=True)]
    assert kept == [{1}, {1, 2, 3}]


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("few", [1, 3, 40])
def test_a_draw_does_not_depend_on_how_many_candidates_are_looked_at_first(monkeypatch, few, top_p):
    draw = torch.Generator().manual_seed(0)
    # From nearly certain to nearly even rows: some nuclei fit into the candidates, others do not.
    scores = torch.randn(300, 997, generator=draw, dtype=torch.float64) * torch.linspace(0.01, 12, 300)[:, None]
    numbers = torch.rand(300, generator=draw, dtype=torch.float64)
    whole = _by_definition(scores, numbers, 0.8, top_p)
    monkeypatch.setattr(seeded_draws, "LIKELIEST", few)
    assert torch.equal(drawn(scores, numbers, 0.8, top_p)[:, 0], whole)


def _by_definition(scores, numbers, temperature, top_p) -> torch.Tensor:
    """Row by row, token by token, in plain Python."""
    out = []
    for row, number in zip(torch.softmax(scores.float() / temperature, -1).tolist(), numbers.tolist(), strict=True):
        kept, reached = set(), 0.0
        for token in sorted(range(len(row)), key=lambda token: -row[token]):
            if reached >= top_p:
                break
            kept.add(token)
            reached += row[token]
        aim = number * sum(row[token] for token in kept)
        for token in sorted(kept):
            aim -= row[token]
            if aim < 0:
                break
        out.append(token)
    return torch.tensor(out)


def test_a_texts_numbers_are_its_own_and_begin_the_same_whatever_its_length():
    assert torch.equal(uniforms(7, 5), uniforms(7, 50)[:5])
    assert not torch.equal(uniforms(7, 5), uniforms(8, 5))
    assert uniforms(7, 2000).mean().sub(0.5).abs() < 5 * (1 / 12 / 2000) ** 0.5


def test_whoever_takes_the_highest_score_takes_the_drawn_token():
    scores = torch.zeros(2, 4, dtype=torch.bfloat16)
    left = only(scores, torch.tensor([[3], [0]]))
    assert left.dtype == scores.dtype and left.argmax(-1).tolist() == [3, 0]
    assert left.isfinite().sum(-1).tolist() == [1, 1]


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (0.7, 0.8), (1.4, 0.95)])
def test_draws_of_neighbouring_seeds_follow_softmax_within_top_p_at_every_step(temperature, top_p):
    texts, steps = 20_000, 3
    scores = torch.randn(60, generator=torch.Generator().manual_seed(1))
    shares = np.exp(scores.double().numpy() / temperature)
    shares /= shares.sum()
    order = np.argsort(-shares)
    kept = order[: np.searchsorted(shares[order].cumsum(), top_p) + 1]
    expected = texts * shares[kept] / shares[kept].sum()
    numbers = number_rows(range(texts), steps, torch.device("cpu"))
    rows = scores.expand(texts, -1)
    picked = [drawn(rows, numbers[:, step], temperature, top_p)[:, 0].numpy() for step in range(steps)]
    for tokens in picked:
        counts = np.bincount(tokens, minlength=60)
        assert counts[kept].sum() == texts
        assert chisquare(counts[kept], expected).pvalue > 1e-3
    # Tokens of one text do not depend on each other, nor do those of two texts with neighbouring seeds.
    likeliest = [np.isin(tokens, order[:3]) for tokens in picked]
    for one, other in ((likeliest[0], likeliest[1]), (likeliest[0][1:], likeliest[0][:-1])):
        table = [[np.sum(one & other), np.sum(one & ~other)], [np.sum(~one & other), np.sum(~one & ~other)]]
        assert chi2_contingency(table).pvalue > 1e-3


def test_a_draw_is_the_same_alone_and_in_any_order():
    draw = torch.Generator().manual_seed(2)
    scores, numbers = torch.randn(50, 700, generator=draw) * 4, torch.rand(50, generator=draw, dtype=torch.float64)
    together = drawn(scores, numbers, 0.7, 0.9)
    order = torch.randperm(50, generator=draw)
    assert torch.equal(drawn(scores[order], numbers[order], 0.7, 0.9), together[order])
    assert all(drawn(scores[n : n + 1], numbers[n : n + 1], 0.7, 0.9)[0] == together[n] for n in range(50))
