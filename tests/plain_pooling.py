"""A pooling by itself, of states and a mask: what the engine, which pools many variants at once, is compared with."""

import torch
from promptpool.embedding.pooling import maximum, weights_of
from promptpool.models.precision import exact
from torch import Tensor


def pool(name: str, hidden: Tensor, mask: Tensor, row: Tensor | None = None) -> Tensor:
    """The pooling of that name.

    hidden [batch, tokens, dim] of any float dtype, mask [batch, tokens] of 0 and 1, row [batch, tokens] the last
    token's attention, for `attention`. Returns [batch, dim] float32 (`concat`: [batch, 2 dim]).
    """
    if name == "max":
        return maximum(hidden, mask)
    with exact(hidden.device):
        parts = [weight.unsqueeze(1) @ hidden.float() for weight in weights_of(name, mask, row)]
    return torch.cat(parts, dim=2).squeeze(1)
