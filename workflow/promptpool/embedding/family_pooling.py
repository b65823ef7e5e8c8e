"""Pools a layer's token states into the vectors of all prompts and poolings of a family, in one matrix product."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.precision import exact
from ..variants import split_pooling
from .packing import Tile, Tree
from .pooling import maximum, weights_of
from .tree_attention import Head


class Readout:
    """Pools a family's prompts. columns: the places in `read`'s result of the parts of each (suffix, pooling)."""

    def __init__(self, tree: Tree, poolings: Sequence[str]):
        self.tree = tree
        self.poolings = [(key, *split_pooling(key)) for key in poolings]
        self.attends = any(name == "attention" for _, name, _ in self.poolings)
        branches, nodes = len(tree.paths), len(tree.ids)
        self.columns: dict[tuple[int, str], list[int]] = {}
        self.width = 0
        for key, name, _ in self.poolings:
            parts = 2 if name == "concat" else 1
            for branch in range(branches):
                self.columns[branch, key] = [self.width + part * branches + branch for part in range(parts)]
            self.width += parts * branches
        self.nodes = torch.zeros(2, branches, nodes, dtype=torch.bool)  # without the EOS, and with it
        for branch, path in enumerate(tree.paths):
            self.nodes[:, branch, list(path)] = True
            if tree.ends:
                self.nodes[1, branch, tree.ends[branch]] = True

    def picks(self, tile: Tile) -> Tensor:
        """The column of each prompt's last token, EOS excluded: [k, suffixes]. The trunk's if there is no suffix."""
        ends = (tile.lengths - 1).clamp_min(0)
        return torch.stack(
            [torch.full_like(ends, tile.trunk + path[-1]) if path else ends for path in self.tree.paths], 1
        )

    def masks(self, tile: Tile, head: int, span: str = "all", eos: bool = False) -> Tensor:
        """[k, suffixes, head + width] bool: the tokens of each prompt that a pooling reads."""
        device = tile.lengths.device
        branches = len(self.tree.paths)
        mask = torch.zeros(len(tile.lengths), branches, head + tile.width, dtype=torch.bool, device=device)
        columns = torch.arange(tile.trunk, device=device)
        stop = head + tile.trunk
        if span == "text":
            own = (columns >= tile.spans[:, :1]) & (columns < tile.spans[:, 1:])
            mask[:, :, head:stop] = own[:, None]
            return mask
        mask[:, :, :head] = True
        mask[:, :, head:stop] = (columns < tile.lengths[:, None])[:, None]
        mask[:, :, stop:] = self.nodes[int(eos)].to(device)
        return mask

    def read(self, tile: Tile, states: Tensor, head: Head, number: int, rows: Tensor | None = None) -> Tensor:
        """[rows, width, dim] of one layer -> float32 [rows, self.width, dim]: the parts, see `columns`.

        rows: attention [rows, suffixes, head + width], if a pooling needs it. This is float32 outside of autocast,
        whatever the precision of the pass.
        """
        with exact(states.device):
            return self._read(tile, states, head, number, rows)

    def _read(self, tile: Tile, states: Tensor, head: Head, number: int, rows: Tensor | None) -> Tensor:
        states = states.float()
        before = head.states[number].float() if head.tokens else None
        weights: list[Tensor] = []
        for _, name, span in self.poolings:
            mask = self.masks(tile, head.tokens, span, name == "eos")
            if name == "max":
                weights.append(torch.zeros(mask.shape, device=mask.device))  # filled in below
            elif name == "attention":
                whole = self.masks(tile, head.tokens)
                sink = whole & (whole.long().cumsum(-1) == 1)
                weights += weights_of(name, mask.expand_as(rows), rows, sink)
            else:
                weights += weights_of(name, mask)
        most = max(map(len, weights))
        table = torch.cat([weight.expand(most, -1, -1) for weight in weights], 1)  # [k, self.width, keys]
        result = table[:, :, head.tokens :] @ states
        if before is not None:
            result += table[:, :, : head.tokens] @ before
        for key, name, span in self.poolings:
            if name == "max":
                columns = [self.columns[branch, key][0] for branch in range(len(self.tree.paths))]
                result[:, columns] = self._maxima(tile, states, before, span)
        return result

    def _maxima(self, tile: Tile, states: Tensor, before: Tensor | None, span: str) -> Tensor:
        """[rows, suffixes, dim] float32."""
        columns = torch.arange(tile.trunk, device=states.device)
        start, stop = (tile.spans[:, :1], tile.spans[:, 1:]) if span == "text" else (0, tile.lengths[:, None])
        shared = states.new_full((len(states), states.shape[-1]), float("-inf"))
        if tile.trunk:
            shared = maximum(states[:, : tile.trunk], (columns >= start) & (columns < stop))
        if span == "text":
            return shared.unsqueeze(1).expand(-1, len(self.tree.paths), -1)
        if before is not None:
            shared = torch.maximum(shared, before.amax(0))
        own = [
            torch.maximum(shared, states[:, [tile.trunk + node for node in path]].amax(1)) if path else shared
            for path in self.tree.paths
        ]
        return torch.stack(own, 1)
