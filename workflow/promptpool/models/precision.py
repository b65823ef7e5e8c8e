"""Decides in which number types a model runs, and what always stays exact float32.

A study gives the same numbers on every CPU: `auto` is float32 there, without autocast, even if the processor is faster
in another type. On a GPU `auto` keeps the weights in float32, multiplies them as TF32 and leaves an adapter beside
them. A few steps change weights by less than bfloat16, or TF32's 10 bits of mantissa, can hold
(docs/explanation/measured/training.md, "What a number type keeps of a tuning").
Pooling, normalisation, the loss and attention rows run in `exact` on every device.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import PromptpoolError

LEAST_KEPT = 0.9  # of the change by tuning; a number type that keeps less is refused (issue 14)


@dataclass(frozen=True)
class Precision:
    """How a model's products are computed. weights: their type in memory; autocast: float32 weights, bfloat16
    products; tf32: float32 weights, products of 10-bit mantissas on a GPU.
    """

    weights: torch.dtype = torch.float32
    autocast: bool = False
    tf32: bool = False

    @contextmanager
    def products(self, device: torch.device) -> Iterator[None]:
        """The context of the model's forward pass, which overrides any outer one."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
                yield
        finally:
            torch.set_float32_matmul_precision(before)


EXACT = Precision()


def in_words(precision: Precision) -> str:
    """Its name in sidecars. This is outside the class, so that other words rerun no job."""
    kind = str(precision.weights).removeprefix("torch.")
    return kind + (" weights, bfloat16 autocast" if precision.autocast else " weights, TF32 products" * precision.tf32)


def exact(device: torch.device):
    """Float32 products without autocast: for pooling, normalisation, losses and attention rows."""
    return EXACT.products(device)


def inference_precision(dtype: str | torch.dtype | Precision, device: torch.device) -> Precision:
    """How embeddings and attention are computed. dtype: a name, a torch.dtype, or a Precision as it is."""
    if isinstance(dtype, Precision):
        return dtype
    if dtype == "auto":
        return Precision(tf32=device.type == "cuda")
    return Precision(as_dtype(dtype))


def training_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The type of frozen weights in training, and of a model that writes pairs: `auto` is bfloat16 on a GPU.

    The LoRA weights stay float32 there, so that no step is lost. Later stages read them in float32.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return as_dtype(dtype)


def training_precision(dtype: str | torch.dtype, device: torch.device) -> Precision:
    """How a step's forward runs: frozen weights in training_dtype, and bfloat16 autocast if that is bfloat16."""
    weights = training_dtype(dtype, device)
    return Precision(weights, autocast=weights == torch.bfloat16)


def as_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Raises PromptpoolError for a name that is not a floating-point type of torch."""
    found = dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise PromptpoolError(f"dtype: {dtype!r} is not a floating-point type; write auto, float32 or bfloat16")
    return found


class Kept:
    """The share of a tuning's change to the weights that rounding keeps: a projection, summed over all matrices.

    With D the adapter's product and W the base's weight, it is <round(W + D) - round(W), D> / <D, D>.
    """

    def __init__(self) -> None:
        self.along = self.whole = 0.0

    def add(self, base: Tensor, tuned: Tensor, dtype: torch.dtype) -> None:
        """base, tuned: one matrix in float32, before and after the merge."""
        change = (tuned - base).double()
        rounded = tuned.to(dtype).double() - base.to(dtype).double()
        self.along += float((rounded * change).sum())
        self.whole += float((change * change).sum())

    @property
    def share(self) -> float:
        return self.along / self.whole if self.whole else 0.0


def require_kept(share: float, adapter: str | Path, dtype: torch.dtype) -> None:
    """Raises PromptpoolError if a number type loses more than a tenth of the change by tuning."""
    if share < LEAST_KEPT:
        raise PromptpoolError(
            f"{adapter}: merged into {str(dtype).removeprefix('torch.')} weights, {max(share, 0):.0%} of what tuning "
            f"changed is left (at least {LEAST_KEPT:.0%} is needed); use dtype auto or float32, or train more steps"
        )


def processor(device: torch.device) -> str:
    """The GPU's name, or the CPU with the instruction set that torch uses on it: for sidecars."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
