"""How much memory a device has for this job, and which errors mean that it ran out."""

import os

import torch

from ..runtime.gpu_leases import SHARED


def gpu_room(device: torch.device) -> int:
    """The bytes of a GPU that this process may hold, including those that it already holds.

    At most what is free, because another process may use the GPU, and at most this job's share of it, because jobs that
    start together all see it free.
    """
    free, whole = torch.cuda.mem_get_info(device)
    return min(free + torch.cuda.memory_reserved(device), whole // int(os.environ.get(SHARED, "1")))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine ran out of memory. On a CPU, and for cuBLAS, torch raises RuntimeError."""
    names = ("can't allocate memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(name in str(error) for name in names)
    )


def is_device_fault(error: BaseException) -> bool:
    """Whether a GPU or one of its libraries failed, which says nothing about the model."""
    names = ("CUDA", "cuBLAS", "CUBLAS", "cuDNN", "CUDNN", "NCCL", "nvrtc", "device-side assert")
    accelerator = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator) or (
        isinstance(error, RuntimeError) and any(name in str(error) for name in names)
    )
