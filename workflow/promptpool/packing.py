"""A family of prompts in one row: [BOS prefix text][suffix 1 EOS][suffix 2 EOS]... under a tree mask.

Causal attention means that the states of prefix + text do not depend on what follows, so every prompt of
a family, with and without EOS, can branch off the same trunk (DESIGN 5.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -1


@dataclass
class Packed:
    """A batch of texts, each with all of its family's branches.

    ids, positions: [batch, tokens] int64; segment: [batch, tokens], 0 on the trunk, b + 1 on branch b,
    -1 on padding; ends: the EOS of each branch, [batch, branches].
    """

    ids: Tensor
    positions: Tensor
    segment: Tensor
    ends: Tensor

    def allowed(self) -> Tensor:
        """[batch, 1, tokens, tokens] bool: which key (last axis) a query may attend to."""
        query, key = self.segment.unsqueeze(2), self.segment.unsqueeze(1)
        tokens = self.ids.shape[1]
        causal = torch.ones(tokens, tokens, dtype=torch.bool, device=self.ids.device).tril()
        # A padding row attends to itself, so that no softmax is empty.
        return (causal & (((key == 0) & (query >= 0)) | (key == query))).unsqueeze(1)

    def branch_mask(self, branch: int, eos: bool) -> Tensor:
        """[batch, tokens] bool: the tokens of one prompt's sequence, its EOS only where asked."""
        mask = (self.segment == 0) | (self.segment == branch + 1)
        if not eos:
            mask = mask.clone()
            mask[torch.arange(len(mask)), self.ends[:, branch]] = False
        return mask


def pack(trunks: Sequence[Sequence[int]], branches: Sequence[Sequence[int]], pad_id: int) -> Packed:
    """Packs trunks (BOS + prefix + text ids, one a text) with every branch (suffix + EOS ids)."""
    width = max(map(len, trunks)) + sum(map(len, branches))
    ids = torch.full((len(trunks), width), pad_id)
    positions = torch.zeros_like(ids)
    segment = torch.full_like(ids, PADDING)
    ends = torch.zeros(len(trunks), len(branches), dtype=torch.long)
    for row, trunk in enumerate(trunks):
        at = len(trunk)
        ids[row, :at] = torch.tensor(list(trunk), dtype=torch.long)
        positions[row, :at] = torch.arange(at)
        segment[row, :at] = 0
        for number, branch in enumerate(branches):
            stop = at + len(branch)
            ids[row, at:stop] = torch.tensor(list(branch), dtype=torch.long)
            positions[row, at:stop] = torch.arange(len(trunk), len(trunk) + len(branch))
            segment[row, at:stop] = number + 1
            ends[row, number] = stop - 1
            at = stop
    return Packed(ids, positions, segment, ends)


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped longest first, so that rows x longest row stays within `budget` tokens (at least one row)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
