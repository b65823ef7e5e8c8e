"""The least time that an H100 needs for what PyTorch dispatches: counted, not timed.

Each operator takes the longer of its bytes and its products at the rates below, and at least one launch. Nothing waits,
stalls or overlaps.
"""

import collections
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PEAK, BYTES, LAUNCH = 989e12, 3.35e12 * 0.85, 2e-6  # dense bfloat16, HBM3's share that kernels reach, least time
PRODUCTS, ATTENTION = 0.70, 0.35  # shares of the peak of matrix products and masked attention
FREE = {"empty", "detach", "alias", "empty_strided", "empty_like", "new_empty", "lift_fresh", "_unsafe_view"}
aten = torch.ops.aten


class Dispatched(TorchDispatchMode, ABC):
    """Seconds and kernels by kind, of operators on one type of device. A subclass says what kind an operator is."""

    def __init__(self, device: str, free: frozenset[str] = frozenset()):
        super().__init__()
        self.device, self.free = device, FREE | free
        self.seconds, self.kernels = collections.Counter(), collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        if func is aten._fused_sdp_choice.default and self.device == "meta":
            return 2  # the kernel that takes a mask, which meta tensors do not choose
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **kwargs)
        out = self.run(func, args, kwargs)
        outs, ins = (
            [x for x in tree_leaves(some) if isinstance(x, torch.Tensor) and x.device.type == self.device]
            for some in (out, (args, kwargs))
        )
        if outs and not func.is_view and name not in self.free:
            moved = sum(map(size, ins)) + (0 if name.endswith("_") else sum(map(size, outs)))
            if name == "embedding":
                moved = 2 * size(outs[0])
            kind, seconds = self.cost(name, args, moved / BYTES)
            self.seconds[kind] += max(seconds, LAUNCH)
            self.kernels[kind] += 1
        return out

    def run(self, func, args: tuple, kwargs: dict) -> object:
        """What the operator gives."""
        return func(*args, **kwargs)

    @abstractmethod
    def cost(self, name: str, args: tuple, least: float) -> tuple[str, float]:
        """An operator's kind and seconds; least: those of its bytes."""


def size(tensor: torch.Tensor) -> int:
    """Bytes that are really there: a dimension that is only expanded has none of its own."""
    whole = [many for many, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return tensor.element_size() * int(np.prod(whole or [1]))


def factors(name: str, args: tuple) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The two matrices of a product, None for another operator."""
    return {"mm": args[:2], "bmm": args[:2], "addmm": args[1:3]}.get(name)
