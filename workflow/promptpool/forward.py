"""One forward pass of a decoder: the hidden states asked for, and the attention rows of chosen tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from .errors import PromptpoolError

IMPLEMENTATION = "promptpool_sdpa"


@dataclass
class Recorder:
    """Which attention rows to keep: `rows` [batch, k] query positions, at decoder layers `layers` (from 0)."""

    rows: Tensor | None = None
    layers: frozenset[int] = frozenset()
    kept: dict[int, Tensor] = field(default_factory=dict)


_recorder = Recorder()


def recording_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs
) -> tuple[Tensor, None]:
    """SDPA that also keeps the head-mean attention of the recorder's rows, without the full matrix.

    query [batch, heads, tokens, dim]; key, value [batch, kv_heads, tokens, dim]; mask bool or additive. A call
    without a mask is refused, because SDPA would then look ahead; so is attention that SDPA cannot compute.
    """
    if mask is None:
        raise ValueError(f"{IMPLEMENTATION} needs the 4-D mask that forward.hidden_states passes")
    beyond = [name for name in ("softcap", "s_aux") if kwargs.get(name) is not None]
    if beyond:
        raise PromptpoolError(
            f"{type(module).__name__}: attention with {beyond[0]} is not supported; use another model"
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    if _recorder.rows is not None and module.layer_idx in _recorder.layers:
        picked = query.gather(2, _recorder.rows[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[-1]))
        logits = (picked.float() @ key.float().transpose(2, 3)) * scale
        rows = mask.expand(-1, 1, -1, -1).gather(2, _recorder.rows[:, None, :, None].expand(-1, 1, -1, mask.shape[-1]))
        logits = logits.masked_fill(~rows, float("-inf")) if rows.dtype == torch.bool else logits + rows.float()
        _recorder.kept[module.layer_idx] = logits.softmax(-1).mean(1)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(IMPLEMENTATION, recording_attention)


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers, whatever the architecture calls it."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise PromptpoolError(f"{model.name_or_path}: no list of {count} decoder layers found in {type(model).__name__}")


def layer_number(layer: int, depth: int) -> int:
    """`-1` -> depth (the final, normalised state), 0 -> the embeddings. PromptpoolError outside the model."""
    number = layer + depth + 1 if layer < 0 else layer
    if not 0 <= number <= depth:
        raise PromptpoolError(f"layers: {layer} is outside this model of {depth} layers; use -{depth + 1} ... {depth}")
    return number


@contextmanager
def _hooked(model: PreTrainedModel, numbers: Sequence[int], states: dict[int, Tensor]) -> Iterator[None]:
    layers = decoder_layers(model)
    handles = []

    def keep(number: int):
        def hook(_module, _inputs, output):
            states[number] = output[0] if isinstance(output, tuple) else output

        return hook

    def keep_first(_module, args, kwargs):
        states[0] = args[0] if args else kwargs["hidden_states"]

    for number in numbers:
        if number == 0:
            handles.append(layers[0].register_forward_pre_hook(keep_first, with_kwargs=True))
        elif number < len(layers):
            handles.append(layers[number - 1].register_forward_hook(keep(number)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def hidden_states(
    model: PreTrainedModel,
    ids: Tensor,
    positions: Tensor,
    allowed: Tensor,
    layers: Sequence[int],
    rows: Tensor | None = None,
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """States by layer, [batch, tokens, dim] each, and the attention of `rows` by layer, [batch, k, tokens].

    ids, positions: [batch, tokens]; allowed: [batch, 1, tokens, tokens] bool; layers as in the config (-1 is
    the last); rows: [batch, k] query positions, None for no attention. Only the asked layers are kept.
    """
    depth = len(decoder_layers(model))
    numbers = {layer: layer_number(layer, depth) for layer in layers}
    mask = _masks(model, allowed, positions)
    states: dict[int, Tensor] = {}
    _recorder.rows, _recorder.kept = rows, {}
    _recorder.layers = frozenset(max(number, 1) - 1 for number in numbers.values())
    try:
        with _hooked(model, list(numbers.values()), states):
            out = model(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False)
        states[depth] = out.last_hidden_state
        kept = _recorder.kept
    finally:
        _recorder.rows, _recorder.kept = None, {}
    attention = {layer: kept[max(number, 1) - 1] for layer, number in numbers.items()} if rows is not None else {}
    return {layer: states[number] for layer, number in numbers.items()}, attention


def _masks(model: PreTrainedModel, allowed: Tensor, positions: Tensor) -> Tensor | dict[str, Tensor]:
    """The mask as this model takes it: one, or one for each type of layer. Sliding windows cut it short.

    Raises PromptpoolError for layers whose states depend on more than the mask (linear attention, say).
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    strange = sorted(kinds - {"full_attention", "sliding_attention"})
    if strange:
        raise PromptpoolError(
            f"{model.name_or_path}: layers of type {strange[0]} are not supported; use a model with full attention"
        )
    window = getattr(config, "sliding_window", None)
    sliding = window is not None and kinds != {"full_attention"}
    near = allowed & (positions.unsqueeze(2) - positions.unsqueeze(1) < window).unsqueeze(1) if sliding else allowed
    if model.config._attn_implementation != IMPLEMENTATION:
        near, allowed = _additive(near, model.dtype), _additive(allowed, model.dtype)
    return {"full_attention": allowed, "sliding_attention": near} if len(kinds) == 2 else near


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
