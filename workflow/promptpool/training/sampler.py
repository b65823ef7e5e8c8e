"""Which pairs form which step: seeded, mixed by weight, of similar length if asked for, and the same after a kill."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

BATCHES_SORTED = 32  # batches whose pairs are sorted by length together


class PairBatches(Sampler[list[int]]):
    """Indices of pairs, a list for each forward of a step. An epoch's batches depend only on seed and epoch.

    The pairs of all sets are numbered consecutively: the first `sizes[0]` are the first set's. An epoch draws as many
    as there are in all. Without weights, each is drawn once. With weights, set i gets its weight's share of the draws,
    and no pair of a set is drawn again before all of that set were drawn, across epochs too.

    batch_size: pairs of a step. rows: pairs of one list, a divisor of it (a micro-batch, a rank's share). The last,
    smaller batch of an epoch is left out. lengths: of each pair. The pairs of every BATCHES_SORTED batches are then
    sorted by length before they are cut into batches, and the batches are shuffled. An epoch has the same pairs.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        rows: int | None = None,
        weights: Sequence[float] | None = None,
        lengths: np.ndarray | None = None,
    ):
        self.sizes, self.total = list(sizes), sum(sizes)
        self.step_size, self.batch_size = batch_size, rows or batch_size
        self.seed, self.lengths, self.epoch = seed, lengths, 0
        self.drop_last = True
        self.counts = self.sizes if weights is None else batch_shares(self.total, weights)
        self.steps = self.total // batch_size  # per epoch

    def __len__(self) -> int:
        return self.steps * (self.step_size // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches(self.epoch):
            yield from batch.reshape(-1, self.batch_size).tolist()

    def batches(self, epoch: int) -> np.ndarray:
        """An epoch's batches, int [steps, batch_size]."""
        draw = np.random.default_rng([self.seed, epoch])
        pairs = draw.permutation(np.concatenate([self._drawn(number, epoch) for number in range(len(self.sizes))]))
        pairs = pairs[: self.steps * self.step_size]
        if self.lengths is not None:
            window = BATCHES_SORTED * self.step_size
            parts = (pairs[start : start + window] for start in range(0, len(pairs), window))
            pairs = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        batches = pairs.reshape(self.steps, self.step_size)
        if self.lengths is not None:
            # Inside a batch the order is shuffled: micro-batches and ranks get texts of all its lengths.
            batches = draw.permuted(draw.permutation(batches), axis=1)
        return batches

    def _drawn(self, number: int, epoch: int) -> np.ndarray:
        """The pairs of one set that an epoch draws: a part of the set's endless sequence of permutations."""
        size, left = self.sizes[number], self.counts[number]
        position, drawn = epoch * left, []
        while left:
            turn, start = divmod(position, size)
            order = np.random.default_rng([self.seed, number, turn, 1]).permutation(size)[start : start + left]
            drawn.append(order)
            position, left = position + len(order), left - len(order)
        return np.concatenate([*drawn, np.empty(0, dtype=np.int64)]) + sum(self.sizes[:number])


def batch_shares(total: int, weights: Sequence[float]) -> list[int]:
    """Splits `total` by weight into whole numbers that add up to it (largest remainders)."""
    exact = total * np.asarray(weights, dtype=float) / np.sum(weights)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts.tolist()
