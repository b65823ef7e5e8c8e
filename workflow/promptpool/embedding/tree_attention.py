"""One forward pass of a decoder over a batch of trees: hidden states layer by layer, and chosen attention rows.

The model's own code runs everything except the attention, which is ours. It cuts the batch's one row into tiles, puts
the head's shared keys and values before each text's own, and masks branches from each other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from ..errors import PromptpoolError
from ..models.decoder import decoder_layers
from ..models.precision import exact
from .packing import Batch, Tile, Trunk, pack_trunks, plant

IMPLEMENTATION = "promptpool_tree"
Rows = list[Tensor]  # the attention rows of each tile: [rows, picks, head + width], head-mean
ReadLayer = Callable[[int, Tensor, Rows | None], None]


@dataclass
class Head:
    """The tokens that precede every text of a family, computed once.

    keys, values: by attention layer, [1, kv_heads, tokens, dim]; states: by layer number, [tokens, dim].
    """

    tokens: int = 0
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    states: dict[int, Tensor] = field(default_factory=dict)


@dataclass
class _Plan:
    """What the attention of one forward pass needs. picks: each tile's query columns, [k, picks]."""

    batch: Batch
    head: Head
    picks: list[Tensor] | None = None
    recorded: frozenset[int] = frozenset()
    keep: bool = False  # this pass makes the head
    kept: dict[int, Rows] = field(default_factory=dict)
    masks: dict[tuple, Tensor] = field(default_factory=dict)

    def mask(self, number: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Additive, [k, 1, width, head + width]."""
        tile, key = self.batch.tiles[number], (number, window, dtype)
        if key not in self.masks:
            allowed = tile.allowed(self.batch.tree, self.batch.head, window)
            zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
            self.masks[key] = zeros.masked_fill_(~allowed, float("-inf"))
        return self.masks[key]


_plan: ContextVar[_Plan | None] = ContextVar("plan", default=None)


def tree_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs
) -> tuple[Tensor, None]:
    """The attention of a batch of trees, as transformers' AttentionInterface calls it.

    query [1, heads, tokens, dim]; key, value [1, kv_heads, tokens, dim]; `mask` is ignored; the active plan has it.
    Returns [1, tokens, heads, dim]. ValueError outside a pass of this module, PromptpoolError for attention sinks.
    """
    plan = _plan.get()
    if plan is None:
        raise ValueError(f"{IMPLEMENTATION} runs only inside forward.run, which sets who may attend to whom")
    if kwargs.get("s_aux") is not None:
        raise PromptpoolError(f"{type(module).__name__}: attention sinks are not part of the tree attention")
    layer = module.layer_idx
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    softcap, window = kwargs.get("softcap"), kwargs.get("sliding_window")
    if plan.keep:
        plan.head.keys[layer], plan.head.values[layer] = key, value
    plan.kept.pop(layer, None)  # of a compiled layer that failed after its attention, and runs again
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])
    for number, tile in enumerate(plan.batch.tiles):
        q, k, v = (_rows(states, tile) for states in (query, key, value))
        if plan.batch.head:
            k, v = (_behind(plan.head.keys[layer], k), _behind(plan.head.values[layer], v))
        near = window if window is not None and plan.batch.head + tile.width > window else None
        plain = plan.batch.tree.is_chain and tile.even and not plan.batch.head and near is None
        bias = None if plain else plan.mask(number, near, query.dtype)
        result = _attend(q, k, v, bias, scale, softcap)
        out[0, tile.tokens].unflatten(0, (tile.rows, tile.width)).copy_(result.transpose(1, 2))
        if plan.picks is not None and layer in plan.recorded:
            bias = plan.mask(number, near, query.dtype)
            with exact(q.device):
                plan.kept.setdefault(layer, []).append(_recorded(q, k, bias, plan.picks[number], scale, softcap))
    return out, None


AttentionInterface.register(IMPLEMENTATION, torch.compiler.disable(tree_attention))  # outside of a compiled layer


def _rows(states: Tensor, tile: Tile) -> Tensor:
    """[1, heads, tokens, dim] -> the tile's [rows, heads, width, dim], a view."""
    return states[0, :, tile.tokens].unflatten(1, (tile.rows, tile.width)).transpose(0, 1)


def _behind(shared: Tensor, own: Tensor) -> Tensor:
    return torch.cat([shared.expand(len(own), -1, -1, -1), own], 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    """[rows, heads, width, dim]. bias None: causal."""
    grouped = q.shape[1] != k.shape[1]
    if softcap is None:
        if grouped and q.device.type != "cpu":  # on a GPU, kernels that take a mask need equal numbers of heads
            k, v, grouped = *(x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v)), False
        return nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, is_causal=bias is None, scale=scale, enable_gqa=grouped
        )
    if bias is None:
        bias = torch.full((q.shape[2], k.shape[2]), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    logits = torch.tanh(q @ k.transpose(2, 3) * (scale / softcap)) * softcap + bias
    return logits.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def _recorded(q: Tensor, k: Tensor, bias: Tensor, picks: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Head-mean attention of the picked queries, [rows, picks, keys] float32, without the full matrix."""
    rows, heads, _, dim = q.shape
    index = picks.expand(rows, -1)
    picked = q.gather(2, index[:, None, :, None].expand(-1, heads, -1, dim)).float()
    picked = picked.unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # queries of one key-value head together
    logits = (picked @ k.float().transpose(2, 3) * scale).unflatten(2, (-1, index.shape[1])).flatten(1, 2)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    own = bias.expand(rows, -1, -1, -1).gather(2, index[:, None, :, None].expand(-1, 1, -1, bias.shape[-1]))
    return (logits + own.float()).softmax(-1).mean(1)


class _Enough(Exception):  # noqa: N818 (no fault)
    """The deepest layer that was asked for has been read."""


def one_state_a_token(model: PreTrainedModel, states: Tensor) -> Tensor:
    """States as a layer hands them on, [rows, tokens, dim]. PromptpoolError where a layer hands on several streams."""
    if states.ndim != 3:
        raise PromptpoolError(
            f"{model.name_or_path}: the layers of {type(model).__name__} hand on several states for each token; read "
            "its last layer alone, layers: [-1]"
        )
    return states


@contextmanager
def reading(model: PreTrainedModel, numbers: Sequence[int], read: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Passes each requested layer's states to `read` as they are computed. Layers beyond the deepest one do not run.

    The last layer's states are those after the final norm, which the caller has from the model's output.
    """
    layers = decoder_layers(model)
    deepest = max(numbers)
    handles, seen = [], set()

    def found(number: int, states: Tensor) -> None:
        seen.add(number)
        read(number, one_state_a_token(model, states))
        if number == deepest:
            raise _Enough

    def first(_module, args, kwargs):
        found(0, args[0] if args else kwargs["hidden_states"])

    def after(number: int):
        def hook(_module, _inputs, output):
            found(number, output[0] if isinstance(output, tuple | list) else output)

        return hook

    for number in set(numbers):
        if number == 0:
            handles.append(layers[0].register_forward_pre_hook(first, with_kwargs=True))
        elif number < len(layers):
            handles.append(layers[number - 1].register_forward_hook(after(number)))
    try:
        yield
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    lost = {number for number in numbers if number < len(layers)} - seen
    if lost:
        raise PromptpoolError(
            f"{model.name_or_path}: layer {min(lost)} of {type(model).__name__} does not run on text alone; read "
            "another"
        )


@torch.inference_mode()
def run(
    model: PreTrainedModel,
    batch: Batch,
    numbers: Sequence[int],
    read: ReadLayer,
    head: Head | None = None,
    picks: list[Tensor] | None = None,
) -> None:
    """One pass over a batch; `read(number, states [tokens, dim], rows)` gets each layer of `numbers` once.

    numbers: layers by number (0 the embeddings); head: the tokens before every text, from `run_head`; picks: each
    tile's query columns [k, picks] whose attention is recorded. The embeddings come with the first layer's attention.
    """
    _forward(model, _Plan(batch, head or Head(), picks), numbers, read)


@torch.inference_mode()
def run_head(model: PreTrainedModel, ids: Sequence[int], numbers: Sequence[int]) -> Head:
    """Keys, values and states of the tokens that precede every text."""
    batch = pack_trunks([Trunk(ids, 0, 0)], plant([]), pad_id=0).to(next(model.parameters()).device)
    plan = _Plan(batch, Head(tokens=len(ids)), keep=True)
    depth = len(decoder_layers(model))
    # Runs all layers, because later texts need the keys up to their deepest layer.
    _forward(model, plan, [*numbers, depth], lambda number, states, _: plan.head.states.update({number: states}))
    return plan.head


def _forward(model: PreTrainedModel, plan: _Plan, numbers: Sequence[int], read: ReadLayer) -> None:
    depth = len(decoder_layers(model))
    attention_of = {number: max(number, 1) - 1 for number in numbers}
    plan.recorded = frozenset(attention_of.values())
    waiting: dict[int, Tensor] = {}

    def hand_on(number: int, states: Tensor) -> None:
        rows = plan.kept.get(attention_of[number]) if number in attention_of else None
        read(number, states.flatten(0, 1), rows)

    def on_states(number: int, states: Tensor) -> None:
        if number == 0 and plan.picks is not None:
            waiting[0] = states  # the first layer's attention is not known yet
            return
        if 0 in waiting:
            hand_on(0, waiting.pop(0))
        if number in attention_of:
            hand_on(number, states)

    watched = set(numbers)
    if plan.picks is not None and 0 in watched:
        watched.add(1)
    # A mask of four axes is passed on unchanged, so the model need not make one.
    unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=plan.batch.ids.device)
    token = _plan.set(plan)
    try:
        with reading(model, sorted(watched), on_states):
            out = model(
                input_ids=plan.batch.ids, position_ids=plan.batch.positions, attention_mask=unread, use_cache=False
            )
            on_states(depth, out.last_hidden_state)
    finally:
        _plan.reset(token)
