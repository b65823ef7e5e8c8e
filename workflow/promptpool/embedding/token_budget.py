"""How many tokens a batch may hold: found while running, never at the price of a text."""

import os
from collections.abc import Callable

import torch

from ..runtime.gpu_leases import SHARED

CPU_TOKENS = 2_048  # activations that stay near the cores' caches; measured, docs/performance.md
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


def gpu_room(device: torch.device) -> int:
    """The bytes of a GPU that this process may hold, those that it holds already included.

    No more than is free, since another process may be there, and no more than this job's share of the device, since
    jobs that start together all see it free.
    """
    free, whole = torch.cuda.mem_get_info(device)
    return min(free + torch.cuda.memory_reserved(device), whole // int(os.environ.get(SHARED, "1")))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no room. On a CPU, and from cuBLAS, torch raises a plain RuntimeError."""
    names = ("can't allocate memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(name in str(error) for name in names)
    )


def is_device_fault(error: BaseException) -> bool:
    """Whether a GPU or one of its libraries failed, which says nothing of the model."""
    names = ("CUDA", "cuBLAS", "CUBLAS", "cuDNN", "CUDNN", "NCCL", "nvrtc", "device-side assert")
    accelerator = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator) or (
        isinstance(error, RuntimeError) and any(name in str(error) for name in names)
    )
