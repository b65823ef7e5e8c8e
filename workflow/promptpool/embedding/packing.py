"""Lays out texts and a family's suffixes for one forward pass with almost no padding.

A family is a tree: the head (BOS and prefix) that all texts share, a trunk for each text, and the suffixes as branches
that share the tokens they begin with. With causal attention, a token's state depends only on its ancestors. All tokens
of a batch lie in one row. Texts of (nearly) one length form a tile, which is a plain [rows, columns] view of that row.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

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
    _there: dict[tuple[str, torch.device], Tensor] = field(default_factory=dict, compare=False, repr=False)

    def on(self, device: torch.device, name: str, made: Callable[[], Tensor]) -> Tensor:
        """A tensor that depends on the tree alone, on a device. It is copied there once, not for each batch.

        name: what distinguishes it from the tree's others; made: gives it on the host.
        """
        if (name, device) not in self._there:
            self._there[name, device] = made().to(device)
        return self._there[name, device]

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
        own[:, self.trunk :, self.trunk :] = tree.on(device, "ancestors", lambda: tree.ancestors)
        if window is not None:
            depths = tree.on(device, "depths", lambda: torch.tensor(tree.depths, dtype=torch.long))
            trunk = columns[: self.trunk].expand(len(self.lengths), -1)
            places = head + torch.cat([trunk, self.lengths[:, None] + depths], 1)
            before = torch.arange(head, device=device).expand(len(places), -1)
            seen &= places[:, :, None] - torch.cat([before, places], 1)[:, None] < window
        return seen.unsqueeze(1)


@dataclass
class Batch:
    """ids, positions [1, tokens] of a batch's one row; tiles: its parts; head: tokens that precede every trunk."""

    ids: Tensor
    positions: Tensor
    tiles: list[Tile]
    tree: Tree
    head: int

    def to(self, device: torch.device) -> "Batch":
        """One copy for everything. On a GPU it is asynchronous, from pinned memory."""
        if device == self.ids.device:
            return self
        parts = [self.ids[0], self.positions[0], *(x.flatten() for t in self.tiles for x in (t.lengths, t.spans))]
        whole = torch.cat(parts)
        if device.type == "cuda":
            whole = whole.pin_memory()
        ids, positions, *rest = whole.to(device, non_blocking=True).split([len(part) for part in parts])
        tiles = [
            replace(tile, lengths=lengths, spans=spans.unflatten(0, (-1, 2)))
            for tile, lengths, spans in zip(self.tiles, rest[::2], rest[1::2], strict=True)
        ]
        return replace(self, ids=ids.unsqueeze(0), positions=positions.unsqueeze(0), tiles=tiles)


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
    lengths = np.fromiter((len(trunk.ids) for trunk in trunks), np.int64, len(trunks))
    spans = np.array([(trunk.start, trunk.stop) for trunk in trunks], dtype=np.int64).reshape(-1, 2)
    own = np.fromiter(chain.from_iterable(trunk.ids for trunk in trunks), np.int64, int(lengths.sum()))
    shapes = []  # of each tile: texts, the longest trunk
    done = 0
    for count in tiles_of(lengths.tolist(), slack):
        shapes.append((count, int(lengths[done : done + count].max())))
        done += count
    ids, positions = np.empty((2, sum(count * (longest + len(nodes)) for count, longest in shapes)), dtype=np.int64)
    tiles, done, first, read = [], 0, 0, 0
    for count, longest in shapes:
        width = longest + len(nodes)
        size, span = lengths[done : done + count], spans[done : done + count]
        tokens = ids[first : first + count * width].reshape(count, width)
        places = positions[first : first + count * width].reshape(count, width)
        there = int(size.sum())
        text = own[read : read + there]
        if there == count * longest:
            tokens[:, :longest] = text.reshape(count, longest)
        else:
            tokens[:, :longest] = pad_id
            tokens[:, :longest][np.arange(longest) < size[:, None]] = text
        tokens[:, longest:] = nodes
        places[:, :longest] = np.arange(head, head + longest)
        places[:, longest:] = head + size[:, None] + depths
        if there == count * longest and (span == span[0]).all():
            size, span = size[:1], span[:1]
        tiles.append(Tile(first, count, longest, width, torch.from_numpy(size), torch.from_numpy(span)))
        first, done, read = first + count * width, done + count, read + there
    return Batch(torch.from_numpy(ids).unsqueeze(0), torch.from_numpy(positions).unsqueeze(0), tiles, tree, head)


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices by falling length. Equal lengths keep their order."""
    return np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()


def take(order: Sequence[int], costs: Sequence[int], start: int, budget: int) -> Iterable[int]:
    """The next indices of `order` whose tokens together stay within `budget`; at least one."""
    stop, used = start + 1, costs[order[start]]
    while stop < len(order) and used + costs[order[stop]] <= budget:
        used += costs[order[stop]]
        stop += 1
    return order[start:stop]
