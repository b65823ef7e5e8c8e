"""Poolings: token states -> one vector. They read a mask, never positions from the right (DESIGN 5.3)."""

from collections.abc import Callable

import torch
from torch import Tensor

POOLINGS = ("mean", "last", "eos", "weighted", "max", "concat", "attention")


def _float(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    if not (mask.sum(1) > 0).all():
        raise ValueError("pooling: a row has no token to pool; give it at least one")
    return hidden.float(), mask.float().unsqueeze(-1)


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states where the mask is 1.

    For all poolings: hidden [batch, tokens, dim] of any float dtype, mask [batch, tokens] of 0 and 1, the
    result [batch, dim] float32 (`concat`: [batch, 2 dim]); ValueError for a row without a token.
    """
    hidden, weight = _float(hidden, mask)
    return (hidden * weight).sum(1) / weight.sum(1)


def last(hidden: Tensor, mask: Tensor) -> Tensor:
    """The state of the last token that counts."""
    hidden, _ = _float(hidden, mask)
    return hidden[torch.arange(len(hidden), device=hidden.device), last_index(mask)]


def last_index(mask: Tensor) -> Tensor:
    """Position of the last 1 of each row, [batch]."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return (mask.long() * (places + 1)).argmax(1)


def weighted(hidden: Tensor, mask: Tensor) -> Tensor:
    """Position-weighted mean (SGPT, arXiv 2202.08904, eq. 2): the i-th token that counts weighs i."""
    hidden, weight = _float(hidden, mask)
    weight = weight.cumsum(1) * weight
    return (hidden * weight).sum(1) / weight.sum(1)


def maximum(hidden: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each dimension."""
    hidden, weight = _float(hidden, mask)
    return hidden.masked_fill(weight == 0, float("-inf")).amax(1)


def concat(hidden: Tensor, mask: Tensor) -> Tensor:
    """Last token's state, then the mean."""
    return torch.cat([last(hidden, mask), mean(hidden, mask)], dim=1)


def attention(hidden: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Mean weighted by the last token's attention, its sink (the first token that counts) left out.

    weights: [batch, tokens], the head-mean attention row of the last token. A text of one token keeps it.
    """
    hidden, weight = _float(hidden, mask)
    counted = mask.long().cumsum(1) * mask.long()
    alone = mask.sum(1, keepdim=True) == 1
    weight = weights.float().unsqueeze(-1) * ((counted > 1) | (alone & (counted == 1))).unsqueeze(-1)
    return (hidden * weight).sum(1) / weight.sum(1).clamp_min(1e-12)


BY_NAME: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "last": last,
    "eos": last,  # the caller's mask ends with the EOS token
    "weighted": weighted,
    "max": maximum,
    "concat": concat,
}


def pool(name: str, hidden: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """The pooling of that name; `attention` also needs the last token's attention row."""
    if name == "attention":
        if weights is None:
            raise ValueError("pooling attention needs the last token's attention row")
        return attention(hidden, mask, weights)
    return BY_NAME[name](hidden, mask)
