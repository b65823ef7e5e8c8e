"""Tokens drawn by temperature and top-p from one random number a row and step, so that a row's batch has no influence.

Both backends with local weights draw here: transformers' through a logits processor of `generate`, vLLM's through one
of its own (vllm_worker). The module needs torch alone, because it is imported in two environments.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

LIKELIEST = 256  # candidates for top-p; sixteen times as many while these are too few


def uniforms(seed: int, steps: int) -> Tensor:
    """The random numbers of one text, one a step, in [0, 1). [steps], float64, on the CPU."""
    return torch.rand(steps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drawn(scores: Tensor, numbers: Tensor, temperature: float, top_p: float) -> Tensor:
    """The token of each row: the one whose share of the cumulative distribution contains the row's number.

    scores: [rows, vocabulary], as the model returns them; numbers: [rows], in [0, 1). Returns ids, [rows, 1].
    This is exact, and far cheaper than noise for a whole vocabulary. The distribution is in the vocabulary's order, not
    sorted by probability, so a draw is stable when two probabilities differ only by rounding.
    """
    return _picked(torch.softmax(scores.float() / temperature, dim=-1), numbers, top_p, LIKELIEST)


def _picked(probabilities: Tensor, numbers: Tensor, top_p: float, candidates: int) -> Tensor:
    tokens, shares = nucleus(probabilities, top_p, candidates)
    reached = shares.double().cumsum(-1)
    aim = numbers[:, None] * reached[:, -1:]
    place = torch.searchsorted(reached, aim, right=True).clamp_(max=shares.shape[-1] - 1)
    if tokens is None:
        return place
    picked = tokens.gather(-1, place)
    if candidates < probabilities.shape[-1] and (short := shares.sum(-1) < top_p).any():
        picked[short] = _picked(probabilities[short], numbers[short], top_p, 16 * candidates)
    return picked


def nucleus(probabilities: Tensor, top_p: float, candidates: int) -> tuple[Tensor | None, Tensor]:
    """The fewest likeliest tokens whose probabilities reach `top_p` (arXiv 1904.09751), in the vocabulary's order.

    probabilities: [rows, vocabulary]. Looks at so many likeliest `candidates`: where these do not reach `top_p`, all of
    them are returned. Returns (tokens, shares), each [rows, candidates]. Shares are probabilities, 0 for a candidate
    outside the nucleus. tokens is None if every token is a candidate, in place.
    """
    if top_p >= 1:
        return None, probabilities
    shares, tokens = probabilities.topk(min(candidates, probabilities.shape[-1]))
    before = shares.cumsum(-1) - shares
    tokens, order = tokens.sort(-1)
    return tokens, shares.masked_fill(before >= top_p, 0.0).gather(-1, order)


def only(scores: Tensor, picked: Tensor) -> Tensor:
    """Scores that leave one token a row: 0 for it, -inf for the others. scores: [rows, vocabulary]; picked: [rows, 1].

    Whoever takes the highest score of a row takes this token.
    """
    return torch.full_like(scores, float("-inf")).scatter_(-1, picked, 0.0)


def number_rows(seeds: Iterable[int], steps: int, device: torch.device) -> Tensor:
    """The random numbers of several texts, [texts, steps], float64."""
    return torch.stack([uniforms(seed, steps) for seed in seeds]).to(device)
