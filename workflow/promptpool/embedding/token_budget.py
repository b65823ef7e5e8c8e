"""The number of tokens that a batch may hold: found while running, without losing a text."""

from collections.abc import Callable

import torch

from ..models.memory import gpu_room

CPU_TOKENS = 2_048  # activations that stay near the cores' caches; measured, docs/explanation/measured/embedding.md
GPU_TOKENS = 16_384
GPU_MOST = 262_144
MARGIN = 0.8  # of the memory, up to which the budget may be expected to grow


class TokenBudget:
    """`tokens` is what the next batch may hold. It halves when memory ran out, and grows while memory allows.

    tokens: the start; most: the upper limit; share: the last batch's peak share of the memory, 0 to 1, None if unknown,
    and then the budget does not grow.
    """

    def __init__(self, tokens: int, most: int | None = None, share: Callable[[], float] | None = None):
        self.tokens = tokens
        self.most = max(tokens, most or tokens)
        self.share = share
        self.good = 0

    @classmethod
    def for_device(cls, device: torch.device, tokens: int | None = None) -> "TokenBudget":
        """A given number stays as it is; otherwise a GPU's budget grows with its memory."""
        if device.type != "cuda":
            return cls(tokens or CPU_TOKENS)
        if tokens:
            return cls(tokens)

        def share() -> float:
            peak = torch.cuda.max_memory_reserved(device)
            torch.cuda.reset_peak_memory_stats(device)
            return peak / gpu_room(device)

        return cls(GPU_TOKENS, GPU_MOST, share)

    def failed(self, used: int) -> None:
        """A batch of `used` tokens did not fit: half of it from now on, and never so many again."""
        self.tokens = max(1, used // 2)
        self.most = max(self.tokens, min(self.most, used * 3 // 4))
        self.good = 0

    def worked(self, used: int) -> None:
        """A batch of `used` tokens fitted. One that did not fill the budget says nothing about a larger one."""
        if used < 0.75 * self.tokens or self.tokens >= self.most:
            return
        self.good += 1
        if self.share is None:
            if self.good >= 16:  # only after a failure: slowly back up
                self.tokens, self.good = min(self.most, self.tokens * 5 // 4 + 1), 0
        elif 2 * self.share() < MARGIN:  # twice the tokens take at most twice the memory
            self.tokens = min(self.most, 2 * self.tokens)
