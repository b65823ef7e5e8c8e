"""Pools a layer's token states into the vectors of all prompts and poolings of a family, in one matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..models.precision import exact
from ..variants import split_pooling
from .packing import Tile, Tree
from .pooling import maximum, weights_of
from .tree_attention import Head


@dataclass
class Weights:
    """A tile's pooling weights, the same for every layer. table: float32 [k, Readout.width, keys], 0 where a layer
    decides. masks: bool [k, suffixes, keys] by (span, with the EOS). sink: bool, each prompt's first token.
    """

    table: Tensor
    masks: dict[tuple[str, bool], Tensor] = field(default_factory=dict)
    sink: Tensor | None = None


class Readout:
    """Pools a family's prompts. columns: the places in `read`'s result of the parts of each (suffix, pooling)."""

    def __init__(self, tree: Tree, poolings: Sequence[str]):
        self.tree = tree
        self.poolings = [(key, *split_pooling(key)) for key in poolings]
        self.attends = any(name == "attention" for _, name, _ in self.poolings)
        self.branches = len(tree.paths)
        self.columns: dict[tuple[int, str], slice] = {}
        self.places: dict[str, slice] = {}  # of all suffixes under one pooling
        self.width = 0
        for key, name, _ in self.poolings:
            parts = 2 if name == "concat" else 1
            for branch in range(self.branches):
                start = self.width + parts * branch
                self.columns[branch, key] = slice(start, start + parts)
            self.places[key] = slice(self.width, self.width + parts * self.branches)
            self.width += parts * self.branches

    def _nodes(self) -> Tensor:
        """[2, suffixes, nodes] bool: each prompt's own nodes, without the EOS and with it."""
        tree = self.tree
        nodes = torch.zeros(2, self.branches, len(tree.ids), dtype=torch.bool)
        for branch, path in enumerate(tree.paths):
            nodes[:, branch, list(path)] = True
            if tree.ends:
                nodes[1, branch, tree.ends[branch]] = True
        return nodes

    def picks(self, tile: Tile) -> Tensor:
        """The column of each prompt's last token, EOS excluded: [k, suffixes]. The trunk's if there is no suffix."""
        last = self.tree.on(
            tile.lengths.device, "last", lambda: torch.tensor([path[-1] if path else -1 for path in self.tree.paths])
        )
        return torch.where(last >= 0, tile.trunk + last, (tile.lengths[:, None] - 1).clamp_min(0))

    def masks(self, tile: Tile, head: int, span: str = "all", eos: bool = False) -> Tensor:
        """[k, suffixes, head + width] bool: the tokens of each prompt that a pooling reads."""
        device = tile.lengths.device
        mask = torch.zeros(len(tile.lengths), self.branches, head + tile.width, dtype=torch.bool, device=device)
        columns = torch.arange(tile.trunk, device=device)
        stop = head + tile.trunk
        if span == "text":
            own = (columns >= tile.spans[:, :1]) & (columns < tile.spans[:, 1:])
            mask[:, :, head:stop] = own[:, None]
            return mask
        mask[:, :, :head] = True
        mask[:, :, head:stop] = (columns < tile.lengths[:, None])[:, None]
        mask[:, :, stop:] = self.tree.on(device, "nodes", self._nodes)[int(eos)]
        return mask

    def weights(self, tile: Tile, head: int) -> Weights:
        """What the poolings of a tile share between its layers. head: the number of tokens before each trunk."""
        table = torch.zeros(
            len(tile.lengths), self.width, head + tile.width, dtype=torch.float32, device=tile.lengths.device
        )
        found = Weights(table)
        for key, name, span in self.poolings:
            of = span, name == "eos"
            if name != "max" and of not in found.masks:
                found.masks[of] = self.masks(tile, head, *of)
            if name not in ("max", "attention"):
                rows = weights_of(name, found.masks[of])
                table[:, self.places[key]] = torch.stack(rows, 2).flatten(1, 2) if len(rows) > 1 else rows[0]
        if self.attends:
            whole = found.masks.get(("all", False))
            whole = self.masks(tile, head) if whole is None else whole
            found.sink = whole & (whole.long().cumsum(-1) == 1)
        return found

    def read(
        self,
        tile: Tile,
        states: Tensor,
        head: Head,
        number: int,
        rows: Tensor | None = None,
        weights: Weights | None = None,
    ) -> Tensor:
        """[rows, width, dim] of one layer -> float32 [rows, self.width, dim]: the parts, see `columns`.

        rows: attention [rows, suffixes, head + width], if a pooling needs it. weights: the tile's own, so that they are
        made once for all layers. This is float32 outside of autocast, whatever the precision of the pass.
        """
        with exact(states.device):
            return self._read(tile, states, head, number, rows, weights or self.weights(tile, head.tokens))

    def _read(
        self, tile: Tile, states: Tensor, head: Head, number: int, rows: Tensor | None, weights: Weights
    ) -> Tensor:
        states = states.float()
        before = head.states[number].float() if head.tokens else None
        table = weights.table
        if self.attends:
            table = table.expand(len(states), -1, -1).clone()
            for key, name, span in self.poolings:
                if name == "attention":
                    mask = weights.masks[span, False].expand_as(rows)
                    (table[:, self.places[key]],) = weights_of(name, mask, rows, weights.sink)
        result = table[:, :, head.tokens :] @ states
        if before is not None:
            result += table[:, :, : head.tokens] @ before
        for key, name, span in self.poolings:
            if name == "max":
                result[:, self.places[key]] = self._maxima(tile, states, before, span)
        return result

    def _maxima(self, tile: Tile, states: Tensor, before: Tensor | None, span: str) -> Tensor:
        """[rows, suffixes, dim] float32."""
        columns = torch.arange(tile.trunk, device=states.device)
        start, stop = (tile.spans[:, :1], tile.spans[:, 1:]) if span == "text" else (0, tile.lengths[:, None])
        shared = states.new_full((len(states), states.shape[-1]), float("-inf"))
        if tile.trunk:
            shared = maximum(states[:, : tile.trunk], (columns >= start) & (columns < stop))
        if span == "text":
            return shared.unsqueeze(1).expand(-1, self.branches, -1)
        if before is not None:
            shared = torch.maximum(shared, before.amax(0))
        nodes = states[:, tile.trunk :]
        own = []
        for branch, path in enumerate(self.tree.paths):
            place = self.tree.on(
                states.device, f"path {branch}", lambda path=path: torch.tensor(path, dtype=torch.long)
            )
            own.append(torch.maximum(shared, nodes.index_select(1, place).amax(1)) if path else shared)
        return torch.stack(own, 1)
