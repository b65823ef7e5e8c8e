"""How many tokens a batch may hold: found while running, never at the price of a text."""

from collections.abc import Callable

import torch

from ..models.memory import gpu_room

CPU_TOKENS = 2_048  # activations that stay near the cores' caches; measured, docs/explanation/measured/embedding.md
GPU_TOKENS = 16_384
GPU_MOST = 262_144
MARGIN = 0.8  # of the memory, as far as growth may be expected to go


class TokenBudget:
    """`tokens` is what the next batch may hold. It halves where memory ran out, and grows where memory allows.

    tokens: the start; most: never more than this; share: the last batch's peak share of the memory, 0 to 1, None
    where that is not known and the budget does not grow by itself.
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
        """A batch of `used` tokens found no room: half of it from now on, and never again so many."""
        self.tokens = max(1, used // 2)
        self.most = max(self.tokens, min(self.most, used * 3 // 4))
        self.good = 0

    def worked(self, used: int) -> None:
        """A batch of `used` tokens went well. One that did not fill the budget says nothing about a larger one."""
        if used < 0.75 * self.tokens or self.tokens >= self.most:
            return
        self.good += 1
        if self.share is None:
            if self.good >= 16:  # after a failure alone: slowly back up
                self.tokens, self.good = min(self.most, self.tokens * 5 // 4 + 1), 0
        elif 2 * self.share() < MARGIN:  # twice the tokens take at most twice the memory
            self.tokens = min(self.most, 2 * self.tokens)
