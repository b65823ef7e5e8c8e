"""Lays out texts and a family's suffixes for one forward pass with almost no padding.

A family is a tree: the head (BOS and prefix) that all texts share, a trunk for each text, and the suffixes as branches
that share the tokens they begin with. With causal attention, a token's state depends only on its ancestors. All tokens
of a batch lie in one row. Texts of (nearly) one length form a tile, which is a plain [rows, columns] view of that row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Tree:
    """The suffixes of a family. Tokens that they begin with in common are kept once. A node comes after its parent.

    ids, parents (-1: the trunk), depths (0 follows the trunk): one entry per node. paths: each suffix's nodes.
    ends: each suffix's EOS node, empty if no EOS was asked for.
    """

    ids: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]

    @cached_property
    def ancestors(self) -> Tensor:
        """[nodes, nodes] bool: whether the column's node is the row's, or comes before it on its path."""
        seen = torch.eye(len(self.ids), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    @cached_property
    def is_chain(self) -> bool:
        """Whether every node follows the one before it, so that there are no branches to separate."""
        return all(parent == node - 1 for node, parent in enumerate(self.parents))


def plant(suffixes: Sequence[Sequence[int]], eos_id: int | None = None) -> Tree:
    """The tree of some suffixes' ids, with an EOS after each of them if `eos_id` is given."""
    ids: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    known: dict[tuple[int, int], int] = {}

    def child(parent: int, token: int) -> int:
        if (parent, token) not in known:
            known[parent, token] = len(ids)
            ids.append(token)
            parents.append(parent)
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return known[parent, token]

    paths, ends = [], []
    for suffix in suffixes:
        path: list[int] = []
        for token in suffix:
            path.append(child(path[-1] if path else -1, token))
        paths.append(tuple(path))
        if eos_id is not None:
            ends.append(child(path[-1] if path else -1, eos_id))
    return Tree(tuple(ids), tuple(parents), tuple(depths), tuple(paths), tuple(ends))


@dataclass(frozen=True)
class Trunk:
    """The tokens of one text before the suffixes, without the head. `start:stop` is the text that `:text` pools."""

    ids: Sequence[int]
    start: int
    stop: int


@dataclass
class Tile:
    """Some texts of a batch, each padded to the longest trunk and followed by the tree's nodes.

    first: its first token in the batch's row; trunk: columns of the trunk; width: trunk + nodes. lengths [k] and spans
    [k, 2] are the texts' own. k = rows, or 1 if all texts agree.
    """

    first: int
    rows: int
    trunk: int
    width: int
    lengths: Tensor
    spans: Tensor

    @property
    def tokens(self) -> slice:
        return slice(self.first, self.first + self.rows * self.width)

    @property
    def even(self) -> bool:
        """Whether it contains no padding."""
        return len(self.lengths) == 1

    def allowed(self, tree: Tree, head: int, window: int | None = None) -> Tensor:
        """[k, 1, width, head + width] bool: which key (last axis; the head first) a query may attend to."""
        device = self.lengths.device
        columns = torch.arange(self.width, device=device)
        real = columns[: self.trunk] < self.lengths[:, None]  # [k, trunk]
        seen = torch.zeros(len(self.lengths), self.width, head + self.width, dtype=torch.bool, device=device)
        seen[:, :, :head] = True
        own = seen[:, :, head:]
        own[:, : self.trunk, : self.trunk] = columns[: self.trunk, None] >= columns[: self.trunk]
        own[:, self.trunk :, : self.trunk] = real[:, None]
        own[:, self.trunk :, self.trunk :] = tree.ancestors.to(device)
        if window is not None:
            depths = torch.tensor(tree.depths, dtype=torch.long, device=device)
            trunk = columns[: self.trunk].expand(len(self.lengths), -1)
            places = head + torch.cat([trunk, self.lengths[:, None] + depths], 1)
            before = torch.arange(head, device=device).expand(len(places), -1)
            seen &= places[:, :, None] - torch.cat([before, places], 1)[:, None] < window
        return seen.unsqueeze(1)

    def to(self, device: torch.device) -> "Tile":
        move = {"device": device, "non_blocking": True}
        return Tile(self.first, self.rows, self.trunk, self.width, self.lengths.to(**move), self.spans.to(**move))


@dataclass
class Batch:
    """ids, positions [1, tokens] of a batch's one row; tiles: its parts; head: tokens that precede every trunk."""

    ids: Tensor
    positions: Tensor
    tiles: list[Tile]
    tree: Tree
    head: int

    def to(self, device: torch.device) -> "Batch":
        """On a GPU the copy is asynchronous, from pinned memory."""
        pinned = (lambda t: t.pin_memory()) if device.type == "cuda" else (lambda t: t)
        ids, positions = (pinned(t).to(device, non_blocking=True) for t in (self.ids, self.positions))
        return Batch(ids, positions, [tile.to(device) for tile in self.tiles], self.tree, self.head)


def tiles_of(lengths: Sequence[int], slack: float) -> list[int]:
    """How many of the texts, longest first, each tile takes. Padding stays within `slack` of a tile's tokens."""
    counts: list[int] = []
    longest = padding = 0
    for length in lengths:
        more = longest - length
        if counts and more >= 0 and padding + more <= slack * longest * (counts[-1] + 1):
            counts[-1] += 1
            padding += more
        else:
            counts.append(1)
            longest, padding = length, 0
    return counts


def pack_trunks(trunks: Sequence[Trunk], tree: Tree, pad_id: int, head: int = 0, slack: float = 0.0) -> Batch:
    """Lays out texts, longest first; rows keep that order. slack: the share of a tile that may be padding."""
    nodes, depths = np.array(tree.ids, dtype=np.int64), np.array(tree.depths, dtype=np.int64)
    ids, positions, tiles = [], [], []
    done = first = 0
    for count in tiles_of([len(trunk.ids) for trunk in trunks], slack):
        group = trunks[done : done + count]
        lengths = np.array([len(trunk.ids) for trunk in group], dtype=np.int64)
        longest = int(lengths.max())
        width = longest + len(nodes)
        tokens = np.full((count, width), pad_id, dtype=np.int64)
        for row, trunk in zip(tokens, group, strict=True):
            row[: len(trunk.ids)] = trunk.ids
        tokens[:, longest:] = nodes
        places = np.broadcast_to(np.arange(head, head + width), (count, width)).copy()
        places[:, longest:] = head + lengths[:, None] + depths
        spans = np.array([[trunk.start, trunk.stop] for trunk in group], dtype=np.int64)
        if (lengths == longest).all() and (spans == spans[0]).all():
            lengths, spans = lengths[:1], spans[:1]
        ids.append(tokens.ravel())
        positions.append(places.ravel())
        tiles.append(Tile(first, count, longest, width, torch.from_numpy(lengths), torch.from_numpy(spans)))
        first += count * width
        done += count
    flat = [torch.from_numpy(np.concatenate(parts)).unsqueeze(0) for parts in (ids, positions)]
    return Batch(*flat, tiles, tree, head)


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices by falling length. Equal lengths keep their order."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def take(order: Sequence[int], costs: Sequence[int], start: int, budget: int) -> Iterable[int]:
    """The next indices of `order` whose tokens together stay within `budget`; at least one."""
    stop, used = start + 1, costs[order[start]]
    while stop < len(order) and used + costs[order[stop]] <= budget:
        used += costs[order[stop]]
        stop += 1
    return order[start:stop]
