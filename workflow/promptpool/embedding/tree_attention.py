"""One forward pass of a decoder over a batch of trees: hidden states layer by layer, and chosen attention rows.

The model's own code runs everything except the attention, which is ours. It cuts the batch's one row into tiles, puts
the head's shared keys and values before each text's own, and masks branches from each other.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from ..errors import PromptpoolError
from ..models.decoder import decoder_layers
from ..models.fused_layers import NUMBER
from ..models.precision import exact
from .layer_states import reading
from .packing import Batch, Tile, Trunk, pack_trunks, plant

IMPLEMENTATION = "promptpool_tree"
QUERIES = 128  # a tile's columns that attend together: none computes the keys that follow all of them
ALIGNED = 8  # a GPU's kernels copy a mask whose rows do not begin at multiples of it
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

    def mask(self, number: int, window: int | None, dtype: torch.dtype, group: int = 1) -> Tensor:
        """Additive, [k, 1, width x group, head + width]: each query's row as often as a group has heads."""
        tile, key = self.batch.tiles[number], (number, window, dtype, group)
        if key not in self.masks:
            allowed = tile.allowed(self.batch.tree, self.batch.head, window)
            rows, _, width, keys = allowed.shape
            bias = torch.zeros(rows, 1, width, group, keys + -keys % ALIGNED, dtype=dtype, device=allowed.device)
            bias[..., :keys].masked_fill_(~allowed.unsqueeze(3), float("-inf"))
            self.masks[key] = bias.flatten(2, 3)[..., :keys]
        return self.masks[key]


_plan: ContextVar[_Plan | None] = ContextVar("plan", default=None)


def tree_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs
) -> tuple[Tensor, None]:
    """The attention of a batch of trees, as transformers' AttentionInterface calls it.

    query [1, heads, tokens, dim]; key, value [1, kv_heads, tokens, dim]; `mask` is ignored; the active plan has it.
    Returns [1, tokens, heads, dim]. ValueError outside a pass of this module, PromptpoolError for attention sinks.
    """
    # A compiled layer writes its queries in this order at once. The heads of a group then read one key as it is.
    if kwargs.get("s_aux") is not None:
        raise PromptpoolError(f"{type(module).__name__}: attention sinks are not part of the tree attention")
    grouped = query.unflatten(1, (key.shape[1], -1))[0].transpose(1, 2)
    grouped = grouped.contiguous() if grouped.shape[2] > 1 else grouped
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    more = scale, kwargs.get("softcap"), kwargs.get("sliding_window")
    if torch.compiler.is_compiling():
        return opaque_attention(grouped, key, value, getattr(module, NUMBER), *more), None
    return _attended(grouped, key, value, module.layer_idx, *more), None


@torch.library.custom_op("promptpool::tree_attention", mutates_args=())
def opaque_attention(
    query: Tensor, key: Tensor, value: Tensor, layer: Tensor, scale: float, softcap: float | None, window: int | None
) -> Tensor:
    """What a compiled layer calls: one operator to its graph, of which no shape of a tile makes another graph.

    layer: its number, which in a tensor is no constant of the graph that all layers share (fused_layers.NUMBER).
    """
    return _attended(query, key, value, int(layer), scale, softcap, window)


@opaque_attention.register_fake
def _(query, key, value, layer, scale, softcap, window):
    return query.new_empty(1, query.shape[1], query.shape[0] * query.shape[2], value.shape[-1])


def _attended(
    query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float, softcap: float | None, window: int | None
) -> Tensor:
    """query: [kv_heads, tokens, group, dim], the heads that share a key together. [1, tokens, heads, dim]."""
    plan = _plan.get()
    if plan is None:
        raise ValueError(f"{IMPLEMENTATION} runs only inside forward.run, which sets who may attend to whom")
    head, group = plan.batch.head, query.shape[2]
    if plan.keep:  # a compiled layer uses its memory again
        plan.head.keys[layer], plan.head.values[layer] = key.clone(), value.clone()
    plan.kept.pop(layer, None)  # of a compiled layer that failed after its attention, and runs again
    out = query.new_empty(query.shape[1], *query.shape[::2], value.shape[-1])  # [tokens, kv_heads, group, dim]
    for number, tile in enumerate(plan.batch.tiles):
        q = query[:, tile.tokens].unflatten(1, (tile.rows, tile.width)).flatten(2, 3).transpose(0, 1)
        k, v = (_rows(states, tile) for states in (key, value))
        if head:
            k, v = (_behind(plan.head.keys[layer], k), _behind(plan.head.values[layer], v))
        near = window if window is not None and head + tile.width > window else None
        plain = plan.batch.tree.is_chain and tile.even and not head and near is None and group == 1
        bias = None if plain else plan.mask(number, near, query.dtype, group)
        own = out[tile.tokens].unflatten(0, (tile.rows, tile.width))
        for columns in _parts(tile.width) if bias is not None else [slice(0, tile.width)]:
            some, seen = slice(columns.start * group, columns.stop * group), head + columns.stop
            part = bias if bias is None else bias[:, :, some, :seen]
            result = _attend(q[:, :, some], k[:, :, :seen], v[:, :, :seen], part, scale, softcap)
            own[:, columns].copy_(result.unflatten(2, (-1, group)).permute(0, 2, 1, 3, 4))
        if plan.picks is not None and layer in plan.recorded:
            bias = plan.mask(number, near, query.dtype)
            with exact(q.device):
                plan.kept.setdefault(layer, []).append(_recorded(q, k, bias, plan.picks[number], scale, softcap))
    return out.flatten(1, 2).unsqueeze(0)


AttentionInterface.register(IMPLEMENTATION, tree_attention)


def _parts(width: int) -> list[slice]:
    """A tile's columns in equal parts of at most QUERIES. No token attends to a later column."""
    step = -(-width // -(-width // QUERIES))
    return [slice(start, min(start + step, width)) for start in range(0, width, step)]


def _rows(states: Tensor, tile: Tile) -> Tensor:
    """[1, heads, tokens, dim] -> the tile's [rows, heads, width, dim], a view."""
    return states[0, :, tile.tokens].unflatten(1, (tile.rows, tile.width)).transpose(0, 1)


def _behind(shared: Tensor, own: Tensor) -> Tensor:
    return torch.cat([shared.expand(len(own), -1, -1, -1), own], 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    """[rows, kv_heads, queries, dim]. bias None: causal."""
    if softcap is None:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None, scale=scale)
    if bias is None:
        bias = torch.full((q.shape[2], k.shape[2]), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
    logits = torch.tanh(q @ k.transpose(2, 3) * (scale / softcap)) * softcap + bias
    return logits.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def _recorded(q: Tensor, k: Tensor, bias: Tensor, picks: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Head-mean attention of the picked queries, [rows, picks, keys] float32, without the full matrix.

    q: [rows, kv_heads, width x group, dim]; bias: [k, 1, width, keys].
    """
    rows, heads, queries, dim = q.shape
    index = picks.expand(rows, -1)
    group = queries // bias.shape[2]
    places = (index[:, :, None] * group + torch.arange(group, device=q.device)).flatten(1)
    picked = q.gather(2, places[:, None, :, None].expand(-1, heads, -1, dim)).float()
    logits = (picked @ k.float().transpose(2, 3) * scale).unflatten(2, (-1, group))
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    own = bias.expand(rows, -1, -1, -1).gather(2, index[:, None, :, None].expand(-1, 1, -1, bias.shape[-1]))
    return (logits + own.float().unsqueeze(3)).softmax(-1).mean((1, 3))


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
