"""The last token's attention row in every layer, from plain eager forward passes.

Fused attention computes no weights, so this needs a model with eager attention. Its modules return a layer's whole
matrix. The last row is kept and the rest released at once, so only one layer's matrix is in memory at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from ..models.decoder import decoder_layers

# Eager attention casts its float32 softmax back to the model's dtype, so a row's sum has that rounding error.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 1e-2, torch.float16: 1e-2}
MOST_WEIGHTS = 16_000_000  # of one layer's matrix, including heads and padding: 64 MB in float32
MOST_TOKENS = 2048  # in one pass; on a CPU twice as many took a quarter longer
MOST_TEXTS = 64


class _Enough(Exception):  # noqa: N818 (no fault)
    """The last layer's weights are known, so the rest of the pass is not needed."""


def last_rows(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], layers: Sequence[int] | str
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """For each sequence of ids, shortest first: its index in `sequences`, and layer -> [heads, tokens] float32.

    model: eval mode, eager attention. layers: `all`, or numbers of attention layers, 0 the first and -1 the last; the
    layers in the result count from 0. A row sums to one exactly: the rounding error is corrected in proportion.
    Raises PromptpoolError for a layer that does not exist, a model that returns no weights, and weights that are not
    probabilities or look beyond the last token.
    """
    heads = getattr(model.config.get_text_config(), "num_attention_heads", 1) or 1
    for places in batches([len(ids) for ids in sequences], heads):
        lengths = torch.tensor([len(sequences[place]) for place in places], device=model.device)
        ids = torch.zeros(len(places), int(lengths.max()), dtype=torch.long, device=model.device)
        for row, place in enumerate(places):
            ids[row, : len(sequences[place])] = torch.tensor(list(sequences[place]))
        found = _forward(model, ids, lengths)
        wanted = {
            number: checked(found[number], lengths, number).cpu().numpy() for number in chosen(layers, len(found))
        }
        for row, place in enumerate(places):
            yield place, {number: rows[row, :, : len(sequences[place])] for number, rows in wanted.items()}


def batches(lengths: Sequence[int], heads: int) -> Iterator[list[int]]:
    """Indices of sequences that run together: of similar length, within the limits above. One too long runs alone."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        rows, width = len(batch) + 1, lengths[place]
        if batch and (rows > MOST_TEXTS or rows * width > MOST_TOKENS or rows * heads * width**2 > MOST_WEIGHTS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def chosen(layers: Sequence[int] | str, count: int) -> list[int]:
    """Layers counted from 0, ascending, each once. Raises PromptpoolError for one beyond the model's `count`."""
    if layers == "all":
        return list(range(count))
    for layer in layers:
        if not -count <= layer < count:
            raise PromptpoolError(f"attention.layers: no layer {layer}; the model has {count} attention layers")
    return sorted({layer % count for layer in layers})


@torch.inference_mode()
def _forward(model: PreTrainedModel, ids: Tensor, lengths: Tensor) -> list[Tensor]:
    """Each attention layer's rows of the last tokens, [texts, heads, width]. Padding is on the right."""
    found: dict[int, Tensor] = {}
    texts, ends = torch.arange(len(ids), device=ids.device), lengths - 1

    layers = decoder_layers(model)

    def taking(number: int):
        def take(_module: nn.Module, _given: tuple, output: object) -> None:
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if isinstance(weights, Tensor) and weights.ndim == 4 and weights.shape[-2:] == ids.shape[1:] * 2:
                found.setdefault(number, weights[texts, :, ends].clone())
                if number + 1 == len(layers):
                    raise _Enough

        return take

    handles = [
        module.register_forward_hook(taking(number))
        for number, layer in enumerate(layers)
        for module in layer.modules()
    ]
    try:
        allowed = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        model(input_ids=ids, attention_mask=allowed, use_cache=False)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise PromptpoolError(
            f"attention: {type(model).__name__} returns no weights; load it with attention='eager', or set attention: "
            "null for a model that has none"
        )
    return [found[number] for number in sorted(found)]


def checked(rows: Tensor, lengths: Tensor, number: int) -> Tensor:
    """Rows [texts, heads, width] as float32 that sum to one. Raises PromptpoolError unless they nearly did, and
    unless nothing is beyond each text's last token.
    """
    beyond = torch.arange(rows.shape[-1], device=rows.device) >= lengths[:, None]
    ahead = float((rows * beyond[:, None]).abs().max())
    if not ahead <= 1e-6:
        raise PromptpoolError(
            f"attention: layer {number}: the last token looks ahead (weight {ahead:.2g}); the causal mask is lost"
        )
    sums = rows.double().sum(-1, keepdim=True)
    error = float((sums - 1).abs().max())
    if not error <= TOLERANCE.get(rows.dtype, 1e-3) or float(rows.min()) < 0:
        raise PromptpoolError(
            f"attention: layer {number}: a row's weights miss 1 by {error:.2g}; these are not probabilities"
        )
    return (rows.double() / sums).float()
