"""A decoder's forward over texts in one row, so that nothing but its attention pads, and that within like lengths.

A step's texts then go through the model together, however their lengths differ: a GPU starts few kernels, each with
much to do. transformers runs the model's own code; the attention is this module's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.utils import ModelOutput

from ..models.both_ways import sees_all
from ..models.decoder import set_attention
from ..models.memory import is_device_fault, is_out_of_memory
from ..models.precision import exact
from .ahead import LENGTHS
from .chunks import chunks_of

PACKED_ATTENTION = "promptpool_packed"
# A GPU has fewer kernels to start. A CPU works on few tokens at a time anyway.
PACKS_ON = {"cpu": False, "cuda": True}
GROUP_SLACK = 0.25  # of what attention computes: the most that may be padding. A group costs kernels of its own.
PROBE = ((5, 6, 7, 8, 9, 10, 11, 12), (9, 8, 7), (6, 5))  # texts whose lengths need two groups, and one of them padding
SAME = 1e-3  # of the states' norm: far above rounding in float32, and far below what a neighbour changes
HALF_ROUNDING = 0.05  # of the same in bfloat16


@dataclass(frozen=True)
class Group:
    """Neighbouring texts that attend as one batch, texts x width. places: of their tokens in it; None if all is full.

    own: bool [texts, 1, 1, width], which columns are tokens, where a token may see those that follow.
    """

    tokens: slice
    texts: int
    width: int
    places: Tensor | None
    own: Tensor | None

    def padded(self, states: Tensor) -> Tensor:
        """[1, heads, tokens, dim] of the row -> [texts, heads, width, dim]."""
        mine = states[0, :, self.tokens]
        if self.places is not None:
            whole = mine.new_zeros(len(mine), self.texts * self.width, mine.shape[-1])
            mine = whole.index_copy(1, self.places, mine)
        return mine.unflatten(1, (self.texts, self.width)).transpose(0, 1)

    def unpadded(self, states: Tensor) -> Tensor:
        """[texts, heads, width, dim] -> [tokens, heads, dim]."""
        flat = states.transpose(1, 2).flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)


@dataclass(frozen=True)
class PackedRow:
    """A batch's texts in one row. place: of its tokens among texts x width; positions: int [tokens], in their texts."""

    shape: tuple[int, int]
    groups: list[Group]
    place: Tensor
    positions: Tensor
    windows: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def widened(self, states: Tensor) -> Tensor:
        """[1, tokens, dim] -> [texts, width, dim], padded with zeros."""
        whole = states.new_zeros(self.shape[0] * self.shape[1], states.shape[-1])
        return whole.index_copy(0, self.place, states[0]).unflatten(0, self.shape)

    def mask(self, group: Group, window: int | None) -> Tensor | None:
        """Who may attend to whom, bool; None where all that come before may."""
        if window is None or window >= group.width:
            return group.own
        if group.own is not None:
            raise ValueError("a sliding window that is open to both sides is not part of the packed attention")
        key = group.width, window
        if key not in self.windows:
            columns = torch.arange(group.width, device=self.place.device)
            distance = columns[:, None] - columns
            self.windows[key] = (distance >= 0) & (distance < window)
        return self.windows[key]


def row_of(lengths: Sequence[int], width: int, causal: bool, device: torch.device) -> PackedRow:
    """How texts of so many tokens, longest first, in a batch of `width` columns, lie in a row. Asks no device."""
    counts = np.asarray(lengths)
    positions = _columns(counts)
    groups = []
    for begin, end in chunks_of(lengths, sum(lengths) * 2, GROUP_SLACK):
        mine, first, wide = counts[begin:end], int(counts[:begin].sum()), max(1, lengths[begin])
        full = bool((mine == wide).all())
        places = None if full else _sent(np.repeat(np.arange(end - begin) * wide, mine) + _columns(mine), device)
        own = None if causal else _sent(np.arange(wide) < mine[:, None], device)[:, None, None]
        groups.append(Group(slice(first, first + int(mine.sum())), end - begin, wide, places, own))
    place = np.repeat(np.arange(len(counts)) * width, counts) + positions
    return PackedRow((len(counts), width), groups, _sent(place, device), _sent(positions, device))


def _columns(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... of each text, one after the other."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


def _sent(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    row: PackedRow | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Each text's attention to itself, as transformers' AttentionInterface calls it.

    query [1, heads, tokens, dim]; key, value [1, kv_heads, tokens, dim]; `mask` is ignored. Returns [1, tokens, heads,
    dim]. ValueError for what it does not compute: soft caps, attention sinks, a model that does not hand `row` on.
    """
    if row is None or softcap is not None or s_aux is not None:
        raise ValueError(f"{type(module).__name__}: not part of the packed attention")
    times, found = query.shape[1] // key.shape[1], []
    for group in row.groups:
        k, v = group.padded(key), group.padded(value)
        if times > 1:  # each head has its own: kernels for float32 on a GPU share none
            k, v = (states.repeat_interleave(times, 1) for states in (k, v))
        seen = row.mask(group, sliding_window)
        out = nn.functional.scaled_dot_product_attention(
            group.padded(query), k, v, attn_mask=seen, dropout_p=dropout, is_causal=seen is None, scale=scaling
        )
        found.append(group.unpadded(out))
    return torch.cat(found).unsqueeze(0), None


AttentionInterface.register(PACKED_ATTENTION, packed_attention)


def packed_pass(forward: Callable[..., ModelOutput], ids: Tensor, row: PackedRow) -> ModelOutput:
    """A forward over a batch [texts, width], padded on the right, longest first. Its states are padded with zeros."""
    # A mask of four axes is passed on unchanged, so the model need not make one.
    unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
    out = forward(
        input_ids=ids.flatten()[row.place][None], position_ids=row.positions[None], attention_mask=unread,
        use_cache=False, row=row,
    )  # fmt: skip
    out.last_hidden_state = row.widened(out.last_hidden_state)
    return out


class PackedForward:
    """In the place of a model's `forward`: packs a batch that comes with its texts' lengths, and no other."""

    def __init__(self, network: PreTrainedModel):
        self.network, self.plain = network, network.forward
        self.attention = network.config._attn_implementation
        self.row: PackedRow | None = None  # of the last forward

    def __call__(self, *args, **inputs) -> ModelOutput:
        lengths = inputs.pop(LENGTHS, None)
        self._attend(self.attention if lengths is None else PACKED_ATTENTION)
        self.row = None
        if lengths is None:
            return self.plain(*args, **inputs)
        ids = inputs["input_ids"]
        self.row = row_of(lengths, ids.shape[1], not sees_all(self.network), ids.device)
        return packed_pass(self.plain, ids, self.row)

    def _attend(self, name: str) -> None:
        if self.network.config._attn_implementation != name:
            set_attention(self.network, name)


def pack(model: SentenceTransformer) -> None:
    """Lets a model pack the batches whose lengths it is given, where that pays and changes no state."""
    network = model.transformers_model
    hands_on = model[0].model_forward_params is None  # to its attention, what its `forward` does not name
    plain = network.config._attn_implementation == "sdpa" and not getattr(network, "is_loaded_in_4bit", False)
    if PACKS_ON[model.device.type] and hands_on and plain and _same(network):
        network.forward = PackedForward(network)


def is_packed(network: PreTrainedModel) -> bool:
    """Whether `pack` found that this model can be packed."""
    return isinstance(network.forward, PackedForward)


def inner_states(network: PreTrainedModel, states: Tensor) -> Tensor:
    """A layer's own states in the last forward, as its batch lay: [texts, width, dim], also if they were in a row."""
    row = network.forward.row if is_packed(network) else None
    return states if row is None else row.widened(states)


@torch.no_grad()
def _same(network: PreTrainedModel) -> bool:
    """Whether a few texts' states are the same in a row, and do not change with the text before. Measured, because no
    config states it.

    A model may mix neighbours in a row without attention (a convolution, a state), or take no positions. In bfloat16
    rounding may be larger than what is mixed, but it is the same whatever the text before says.
    """
    if getattr(network.config.get_text_config(), "attention_chunk_size", None):  # longer than a text of this trial
        return False
    lengths = [len(text) for text in PROBE]
    few = network.config.get_text_config().vocab_size
    rows = [[token % few for token in text] + [0] * (lengths[0] - len(text)) for text in PROBE]
    ids = torch.tensor(rows, device=network.device)
    other = torch.cat([ids[:1].flip(1), ids[1:]])
    mask = torch.arange(lengths[0], device=ids.device) < torch.tensor(lengths, device=ids.device)[:, None]
    training, before, half = network.training, network.config._attn_implementation, network.dtype == torch.bfloat16
    try:
        network.eval()
        with torch.autocast(ids.device.type, torch.bfloat16) if half else exact(ids.device):
            plain = network(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
            set_attention(network, PACKED_ATTENTION)
            row = row_of(lengths, lengths[0], not sees_all(network), ids.device)
            packed, moved = (packed_pass(network.forward, some, row) for some in (ids, other))
    except Exception as error:  # what an architecture raises at a row that it does not expect
        if is_out_of_memory(error) or is_device_fault(error):
            raise  # says nothing of the architecture
        return False
    finally:
        set_attention(network, before)
        network.train(training)
    plain, packed, moved = plain.float() * mask[..., None], *(out.last_hidden_state.float() for out in (packed, moved))
    apart = (moved - packed)[1:].norm() <= SAME * packed[1:].norm()
    return bool(apart and (packed - plain).norm() <= (HALF_ROUNDING if half else SAME) * plain.norm())
