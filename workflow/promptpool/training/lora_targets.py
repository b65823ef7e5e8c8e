"""Which layers of a model an adapter tunes: by name, all linear ones, or the default that fits every architecture."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import PromptpoolError
from ..models.decoder import decoder_layers
from ..models.memory import is_device_fault, is_out_of_memory

AUTO, ALL_LINEAR = "auto", "all-linear"
PLAIN = ("torch.", "transformers.pytorch_utils", "bitsandbytes.")  # whose layers are what their base class says
PROJECTIONS = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # the paper's, of a Llama or Qwen


def targets_of(model: nn.Module, names: Sequence[str] | str, path: str) -> list[str]:
    """The layers to adapt, as PEFT takes them: the last part of their names, or whole names.

    `auto` is PROJECTIONS where the model has them all, else `all-linear`, PEFT's own word for every linear layer. PEFT
    passes over a name without a layer as long as another has one, and so tunes less than was asked for: here every
    name must have one, else PromptpoolError lists those that this model has.
    """
    layers = linear_layers(model)
    words = [names] if isinstance(names, str) else list(names)
    if words == [AUTO]:
        whole = not _without(PROJECTIONS, layers)
        words = list(PROJECTIONS) if whole else [ALL_LINEAR]
    if words == [ALL_LINEAR]:
        return _all_of(model, layers, path)
    without = _without(words, layers)
    if without:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
        raise PromptpoolError(
            f"{path}: lora.target_modules: no layer is called {', '.join(without)}; this model has {known}, and "
            f"[{ALL_LINEAR}] stands for all of them"
        )
    return words


def inner_targets(model: PreTrainedModel, names: Sequence[str] | str, path: str) -> list[str]:
    """The same of a model that was cut down to its first layers, as whole names: by short ones PEFT would adapt the
    other layers too where it puts the adapter on the whole model.

    Only what is in a decoder layer: what runs after them gets no gradient.
    """
    words = targets_of(model, names, path)
    layers = decoder_layers(model)
    inside = next(f"{name}." for name, part in model.named_modules() if part is layers)
    every = [name for name in linear_layers(model) if name.startswith(inside)]
    chosen = [name for name in every if any(name == word or name.endswith(f".{word}") for word in words)]
    if not chosen:
        raise PromptpoolError(f"{path}: lora.target_modules: none is in a layer up to the trained one; name others")
    return chosen


def linear_layers(model: nn.Module) -> list[str]:
    """The names of the layers that LoRA can adapt."""
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and (part.__module__.startswith(PLAIN) or _gives_vectors(part))
    ]


@torch.no_grad()
def _gives_vectors(part: nn.Linear) -> bool:
    """Whether a Linear with code of its own gives what a Linear gives; some routers give a tuple.

    A fault of the device or of its memory says nothing about the layer, and is raised.
    """
    try:
        given = part(torch.zeros_like(part.weight[:1]))
    except Exception as error:  # whatever an architecture's own code raises
        if is_out_of_memory(error) or is_device_fault(error):
            raise
        return False
    return isinstance(given, torch.Tensor) and given.shape == (1, len(part.weight))


def _without(names: Sequence[str], layers: Sequence[str]) -> list[str]:
    """The names that no layer has."""
    return [one for one in names if not any(name == one or name.endswith(f".{one}") for name in layers)]


def _all_of(model: nn.Module, layers: Sequence[str], path: str) -> list[str]:
    """Every linear layer, but for the output of a Mamba's mixer: its kernels read that weight past any adapter."""
    chosen = [name for name in layers if not _fused(model, name)]
    if not chosen:
        raise PromptpoolError(f"{path}: lora.target_modules: {type(model).__name__} has no linear layer to adapt")
    others = {name for name, _ in model.named_modules()} - set(chosen)
    short = {name.rpartition(".")[2] for name in chosen}
    clash = short & {name.rpartition(".")[2] for name in others}
    return sorted({name if name.rpartition(".")[2] in clash else name.rpartition(".")[2] for name in chosen})


def _fused(model: nn.Module, name: str) -> bool:
    parent, _, last = name.rpartition(".")
    mixer = model.get_submodule(parent)
    return last == "out_proj" and hasattr(mixer, "conv1d") and hasattr(mixer, "D")
