"""The last token's attention weighted by what it carries: norms of the transformed values (Kobayashi et al. 2020,
arXiv 2004.10102).

A token with a large weight and a small value adds little to the last token's state. So the token's part is the norm of
its weight times its value, after the output projection: what it adds to the sum that the attention returns.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from ..errors import PromptpoolError
from ..models.decoder import set_attention
from ..models.precision import exact
from .rows import batches, chosen

VALUE_NORMS = "promptpool_value_norms"
OUTPUT_LAYERS = ("o_proj", "out_proj", "dense", "c_proj", "wo")  # the output projection's name in transformers' models

Keep = Callable[[nn.Module, Tensor, Tensor], None]
_keep: ContextVar[Keep | None] = ContextVar("keep", default=None)


def recording(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs
) -> tuple[Tensor, Tensor]:
    """The model's own eager attention, as AttentionInterface calls it; its weights and values go to the active pass."""
    eager = vars(sys.modules[type(module).__module__])["eager_attention_forward"]
    out, weights = eager(module, query, key, value, mask, **kwargs)
    if (keep := _keep.get()) is not None:
        keep(module, weights, value)
    return out, weights


AttentionInterface.register(VALUE_NORMS, recording)
AttentionMaskInterface.register(VALUE_NORMS, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def value_norm_rows(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], layers: Sequence[int] | str
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """For each sequence of ids, shortest first: its index in `sequences`, and layer -> [1 + heads, tokens] float64.

    Row 0 is the whole layer's: each token's part in the sum over all heads. Rows from 1 are single heads'. A row is
    divided by its sum, so that it compares with attention. model: eval mode, eager attention; layers: see
    rows.last_rows. Raises PromptpoolError for a model whose attention transformers cannot exchange, or whose output
    projection is not known, and for layers that do not exist.
    """
    before = model.config._attn_implementation
    set_attention(model, VALUE_NORMS)
    heads = getattr(model.config.get_text_config(), "num_attention_heads", 1) or 1
    try:
        for places in batches([len(ids) for ids in sequences], heads):
            found = _forward(model, [sequences[place] for place in places])
            for row, place in enumerate(places):
                width = len(sequences[place])
                yield place, {number: found[number][row, :, :width] for number in chosen(layers, len(found))}
    finally:
        set_attention(model, before)


@torch.inference_mode()
def _forward(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Each attention layer's rows [texts, 1 + heads, width], padded on the right."""
    found: list[np.ndarray] = []
    lengths = torch.tensor([len(ids) for ids in sequences], device=model.device)
    ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long, device=model.device)
    for row, own in enumerate(sequences):
        ids[row, : len(own)] = torch.tensor(list(own))

    def keep(module: nn.Module, weights: Tensor, value: Tensor) -> None:
        last = weights[torch.arange(len(ids)), :, lengths - 1, : ids.shape[1]]
        with exact(ids.device):
            norms = torch.stack([_norms(module, *one) for one in zip(last.float(), value.float(), strict=True)])
        norms = norms.double().cpu().numpy()
        found.append(norms / np.maximum(norms.sum(-1, keepdims=True), np.finfo(np.float64).tiny))

    taken = _keep.set(keep)
    try:
        allowed = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        model(input_ids=ids, attention_mask=allowed, use_cache=False)
    finally:
        _keep.reset(taken)
    if not found:
        raise PromptpoolError(
            f"attention.value_norms: {type(model).__name__} keeps an attention of its own; set value_norms: false"
        )
    return found


def _norms(module: nn.Module, weights: Tensor, value: Tensor) -> Tensor:
    """weights: [heads, tokens]; value: [kv_heads, tokens, dim]. Returns [1 + heads, tokens]: their sum, then each."""
    value = value.repeat_interleave(len(weights) // len(value), 0)
    projection = output_projection(module, len(weights) * value.shape[-1]).float()
    parts = weights[..., None] * value  # [heads, tokens, dim]
    whole = (parts.transpose(0, 1).flatten(1) @ projection.T).norm(dim=-1)
    single = projection.unflatten(1, (len(weights), -1)).permute(1, 2, 0)  # [heads, dim, width]
    grams = single @ single.transpose(1, 2)  # a head's squared norm is v G v, without vectors of the model's width
    squares = torch.einsum("htd,hde,hte->ht", parts, grams, parts)
    return torch.cat([whole[None], squares.clamp(min=0).sqrt()])


def output_projection(module: nn.Module, width: int) -> Tensor:
    """The weight [model's width, `width`] that an attention's heads pass through together.

    Raises PromptpoolError if none of OUTPUT_LAYERS takes `width` numbers.
    """
    for name in OUTPUT_LAYERS:
        weight = getattr(getattr(module, name, None), "weight", None)
        if weight is not None and weight.ndim == 2:
            weight = weight if isinstance(getattr(module, name), nn.Linear) else weight.T  # GPT-2's layers hold it so
            if weight.shape[1] == width:
                return weight
    raise PromptpoolError(
        f"attention.value_norms: the output projection of {type(module).__name__} is not known; set value_norms: false"
    )
