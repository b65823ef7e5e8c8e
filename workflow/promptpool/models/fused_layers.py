"""Fuses the elementwise operators of a decoder's layers with torch.compile, and goes without where that fails.

Each layer's `forward` is compiled with dynamic shapes; all layers share the graphs. To them attention is one operator,
tree_attention's, so that shapes of tiles compile nothing. Hooks on layers work as before.
"""

import warnings
from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedModel

from .decoder import decoder_layers
from .memory import is_device_fault, is_out_of_memory

WORTH_SECONDS = 60.0  # of a GPU's forward passes: a third of them is saved, and a compilation takes about 20 s
NUMBER = "layer_number"  # of an attention module: its `layer_idx` as a tensor, so that no graph holds it
OPTIONS = {"force_pointwise_cat": True}  # rotary positions are then read where they are, and written nowhere
GPU_FLOPS = 150e12  # a second that an unfused pass reaches, about; only the order of magnitude counts


def worth_fusing(model: PreTrainedModel, tokens: int) -> bool:
    """Whether a GPU's forward passes over so many tokens take far longer than to compile the layers."""
    weights = sum(weight.numel() for layer in decoder_layers(model) for weight in layer.parameters())
    return 2 * weights * tokens / GPU_FLOPS > WORTH_SECONDS


class FusedLayers:
    """A model's layers and its last norm, compiled. works: False once a compilation has failed: they run as before."""

    def __init__(self, model: PreTrainedModel):
        self.model, self.works = model, True
        for layer in decoder_layers(model):
            number_attention(layer)
        for part in compiled_parts(model):
            part.forward = self._fused(part)

    def _fused(self, part: nn.Module) -> Callable:
        plain = part.forward
        compiled = torch.compile(plain, dynamic=True, options=OPTIONS)

        def forward(*args, **kwargs):
            if self.works:
                try:
                    return compiled(*args, **kwargs)
                except Exception as error:
                    if not of_the_compiler(error) or is_out_of_memory(error) or is_device_fault(error):
                        raise
                    self.works = False
                    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
                    warnings.warn(
                        f"{self.model.name_or_path}: its layers are not fused, torch.compile fails here ({reason}); "
                        "the vectors are the same and take more time",
                        stacklevel=2,
                    )
            return plain(*args, **kwargs)

        return forward

    def undo(self) -> None:
        """The layers as they were."""
        for part in compiled_parts(self.model):
            part.__dict__.pop("forward", None)


def compiled_parts(model: PreTrainedModel) -> list[nn.Module]:
    """What is compiled: the layers, and a norm after them."""
    layers = list(decoder_layers(model))
    inside = {id(part) for layer in layers for part in layer.modules()}
    norms = [part for part in model.modules() if id(part) not in inside and "norm" in type(part).__name__.lower()]
    return [*layers, *norms]


def number_attention(layer: nn.Module) -> None:
    """Gives a layer's attention its number as a tensor (NUMBER)."""
    for part in layer.modules():
        if isinstance(getattr(part, "layer_idx", None), int):
            setattr(part, NUMBER, torch.tensor(part.layer_idx))


def of_the_compiler(error: BaseException) -> bool:
    """Whether torch.compile or a program that it calls raised an error, and not the model."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "triton", "torch.utils._triton"))
