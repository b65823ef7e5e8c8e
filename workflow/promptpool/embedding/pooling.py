"""Poolings: token states -> one vector. They read a mask, never positions from the right.

All but `max` are weighted sums. So a pooling is a row of weights, and many poolings are one matrix product.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..variants import POOLINGS

__all__ = ["BY_NAME", "POOLINGS", "last_index", "maximum", "weights_of"]


def mean_weights(mask: Tensor) -> Tensor:
    """Equal weights for every token that counts. As for all weights: mask [..., tokens], the result float32 like it."""
    return mask.float() / mask.float().sum(-1, keepdim=True)


def last_index(mask: Tensor) -> Tensor:
    """Position of the last 1: [...] for a mask [..., tokens]."""
    places = torch.arange(mask.shape[-1], device=mask.device)
    return (mask.long() * (places + 1)).argmax(-1)


def last_weights(mask: Tensor) -> Tensor:
    """Weight one for the last token that counts."""
    return torch.zeros(mask.shape, device=mask.device).scatter_(-1, last_index(mask).unsqueeze(-1), 1.0)


def position_weights(mask: Tensor) -> Tensor:
    """SGPT's weights (arXiv 2202.08904, eq. 2): the i-th token that counts has weight i."""
    weight = mask.float().cumsum(-1) * mask.float()
    return weight / weight.sum(-1, keepdim=True)


def attention_weights(mask: Tensor, row: Tensor, sink: Tensor | None = None) -> Tensor:
    """The last token's attention `row` [..., tokens] (head mean) over the tokens that count, without the sink.

    sink: like mask, the sequence's first token; None for the first token that counts. It is kept if it is the only
    token.
    """
    mask = mask.bool()
    first = mask & (mask.long().cumsum(-1) == 1) if sink is None else sink.bool()
    counted = mask & ~first
    counted = torch.where(counted.any(-1, keepdim=True), counted, mask)
    weight = row.float() * counted
    return weight / weight.sum(-1, keepdim=True).clamp_min(1e-12)


BY_NAME: dict[str, Callable[[Tensor], Tensor] | None] = {
    "mean": mean_weights,
    "last": last_weights,
    "eos": last_weights,  # the caller's mask ends with the EOS token
    "weighted": position_weights,
    "max": None,  # not a weighted sum
    "concat": None,  # two of them: last, then mean
}


def weights_of(name: str, mask: Tensor, row: Tensor | None = None, sink: Tensor | None = None) -> list[Tensor]:
    """The rows of weights whose sums, side by side, are the pooling's vector: one, or `concat`'s two."""
    if name == "attention":
        if row is None:
            raise ValueError("pooling attention needs the last token's attention row")
        return [attention_weights(mask, row, sink)]
    if name == "concat":
        return [last_weights(mask), mean_weights(mask)]
    return [BY_NAME[name](mask)]


def maximum(hidden: Tensor, mask: Tensor) -> Tensor:
    """The largest value of each dimension over the tokens that count, float32; -inf if there is none."""
    return hidden.float().masked_fill(~mask.bool().unsqueeze(-1), float("-inf")).amax(-2)
