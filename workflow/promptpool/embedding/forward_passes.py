"""One family's forward passes: all prompts at once with a tree mask, or one prompt at a time if the model can't."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from ..models.both_ways import sees_all
from ..models.decoder import decoder_layers, plain_attention
from ..models.memory import is_device_fault, is_out_of_memory
from ..variants import split_pooling
from .family_pooling import Readout
from .layer_states import reading
from .packing import Batch, Tree, Trunk, pack_trunks, plant
from .tree_attention import IMPLEMENTATION, Head, run, run_head

Found = dict[int, Tensor]  # layer number -> [texts, parts, dim] float32


@dataclass(frozen=True)
class Layout:
    """One family's input to a pass. head: ids that precede every trunk; eos_id also pads."""

    head: tuple[int, ...]
    tree: Tree
    poolings: tuple[str, ...]
    numbers: tuple[int, ...]
    eos_id: int
    slack: float = 0.0


class TreePass:
    """All prompts of a family in one pass; the head's keys and values are computed once and shared by all texts."""

    def __init__(self, model: PreTrainedModel, layout: Layout):
        self.model, self.layout = model, layout
        self.readout = Readout(layout.tree, layout.poolings)
        self.head = run_head(model, layout.head, layout.numbers) if layout.head else Head()

    def run(self, trunks: Sequence[Trunk]) -> Found:
        """Vectors of texts, longest trunk first; see Readout.columns."""
        layout = self.layout
        batch = pack_trunks(trunks, layout.tree, layout.eos_id, self.head.tokens, layout.slack).to(self.model.device)
        picks = [self.readout.picks(tile) for tile in batch.tiles] if self.readout.attends else None
        weights = [self.readout.weights(tile, self.head.tokens) for tile in batch.tiles]
        found: Found = {}

        def read(number: int, states: Tensor, rows: Sequence[Tensor] | None) -> None:
            parts = []
            for index, tile in enumerate(batch.tiles):
                own = states[tile.tokens].unflatten(0, (tile.rows, tile.width))
                row = rows[index] if picks else None
                parts.append(self.readout.read(tile, own, self.head, number, row, weights[index]))
            found[number] = torch.cat(parts)

        run(self.model, batch, layout.numbers, read, self.head, picks)
        return found


class SeparatePasses:
    """One prompt at a time with the model's own attention, texts of equal length together: right for any decoder.

    The head is recomputed for every text, because it is unknown how the model would share it. Where tokens see what
    follows them, an EOS that one pooling reads must not be in the pass of the others.
    """

    def __init__(self, model: PreTrainedModel, layout: Layout):
        self.model, self.layout = model, layout
        self.readout = Readout(layout.tree, layout.poolings)
        suffixes = [[layout.tree.ids[node] for node in path] for path in layout.tree.paths]
        ended = [key for key in layout.poolings if split_pooling(key)[0] == "eos"]
        others = [key for key in layout.poolings if key not in ended]
        groups = [(layout.poolings, bool(layout.tree.ends))]
        if ended and others and sees_all(model):
            groups = [(others, False), (ended, True)]
        self.alone = [
            (branch, Readout(plant([suffix], layout.eos_id if eos else None), poolings), poolings)
            for branch, suffix in enumerate(suffixes)
            for poolings, eos in groups
        ]

    def run(self, trunks: Sequence[Trunk]) -> Found:
        """As TreePass.run."""
        found: Found = {}
        layout, before = self.layout, len(self.layout.head)
        whole = [Trunk((*layout.head, *t.ids), t.start + before, t.stop + before) for t in trunks]
        for branch, alone, poolings in self.alone:
            batch = pack_trunks(whole, alone.tree, layout.eos_id).to(self.model.device)
            for number, parts in self._plain(batch, alone).items():
                if number not in found:
                    shape = (len(trunks), self.readout.width, parts.shape[-1])
                    found[number] = torch.empty(shape, device=parts.device)
                for key in poolings:
                    found[number][:, self.readout.columns[branch, key]] = parts[:, alone.columns[0, key]]
        return found

    @torch.inference_mode()
    def _plain(self, batch: Batch, readout: Readout) -> Found:
        depth = len(decoder_layers(self.model))
        parts: dict[int, list[Tensor]] = {number: [] for number in self.layout.numbers}
        for tile in batch.tiles:
            ids = batch.ids[0, tile.tokens].unflatten(0, (tile.rows, tile.width))
            states: dict[int, Tensor] = {}
            asked = {"output_attentions": True} if readout.attends else {}
            rows_wanted = plain_attention(self.model) if readout.attends else nullcontext()
            with rows_wanted, reading(self.model, [*self.layout.numbers, depth], states.__setitem__):
                out = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **asked)
            states[depth] = out.last_hidden_state
            for found in states.values():
                if found.shape[1] != tile.width:
                    raise PromptpoolError(
                        f"{self.model.name_or_path}: {type(self.model).__name__} gives {found.shape[1]} states for "
                        f"{tile.width} tokens, and no pooling knows whose they are; name another model"
                    )
            for number in self.layout.numbers:
                rows = None
                if readout.attends:
                    stack = getattr(out, "attentions", None)
                    weights = stack[max(number, 1) - 1] if stack else None
                    if weights is None:
                        raise PromptpoolError(
                            f"{self.model.name_or_path}: pooling attention needs weights that "
                            f"{type(self.model).__name__} does not give; leave it out of poolings"
                        )
                    index = readout.picks(tile).expand(tile.rows, -1)[:, None, :, None]
                    rows = weights.float().mean(1, keepdim=True).gather(2, index.expand(-1, -1, -1, tile.width))[:, 0]
                parts[number].append(readout.read(tile, states[number], Head(), number, rows))
        return {number: torch.cat(found) for number, found in parts.items()}


PROBE_TREES = (Trunk((5, 6, 7, 8, 9), 0, 5), Trunk((9, 8, 7), 0, 3))
PROBE_ROWS = 16  # of the embedding: every token of the probe is below that


@torch.inference_mode()
def takes_trees(model: PreTrainedModel, eos_id: int) -> bool:
    """Whether a model's result is the same with and without the tree mask, tried on two texts of a few tokens.

    Measured, because no config states it: that every layer's states depend only on the mask and the positions. Always
    in float32, where rounding is far below what a mask that is not followed changes. A fault of the device is raised.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != IMPLEMENTATION:
        return False
    few = min(PROBE_ROWS, config.vocab_size)
    ids = tuple(token % few for token in (3, 4, 5, 6))
    tree = plant([(10 % few,) * 6, (11 % few, 12 % few), ()], eos_id % few)
    trunks = [Trunk(tuple(token % few for token in t.ids), t.start, t.stop) for t in PROBE_TREES]
    try:
        small = model if model.dtype == torch.float32 else small_copy(model)
        depth = len(decoder_layers(small))
        layout = Layout(ids, tree, ("mean", "last", "eos"), tuple(sorted({max(1, depth // 2), depth})), eos_id % few)
        ours = TreePass(small, layout).run(trunks)
    # What an architecture of someone else's raises at a mask that it does not expect is its own affair.
    except Exception as error:
        if is_out_of_memory(error) or is_device_fault(error):
            raise  # says nothing of the mask
        return False
    with plain_attention(small):
        plain = SeparatePasses(small, layout).run(trunks)
    return all(bool((ours[n] - plain[n]).norm() <= 1e-3 * plain[n].norm()) for n in layout.numbers)


@torch.inference_mode()
def require_causal(model: PreTrainedModel) -> None:
    """PromptpoolError for a model whose tokens see those that follow: an encoder, whatever its config says."""
    few = min(PROBE_ROWS, model.config.get_text_config().vocab_size)
    one, other = (torch.tensor([[token % few for token in (5, 6, 7, last)]], device=model.device) for last in (8, 9))
    states, changed = (model(input_ids=ids, use_cache=False).last_hidden_state[:, :3] for ids in (one, other))
    if (states - changed).norm() > 1e-3 * states.norm():
        raise PromptpoolError(
            f"{model.name_or_path}: {model.config.model_type} reads a text in both directions and is not a "
            "decoder-only model; name a causal LM"
        )


def small_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The model in float32 with only its first layers, enough to show every kind of layer, and few embeddings.

    The weights are the model's own; the model itself stays as it is.
    """
    layers = decoder_layers(model)
    kinds = [_kind(layer) for layer in layers]
    kept = 1 + max(kinds.index(kind) for kind in set(kinds))
    memo: dict[int, object] = {id(layer): nn.Identity() for layer in layers[kept:]}  # what is not copied
    table = model.get_input_embeddings()
    if isinstance(table, nn.Embedding):
        memo[id(table.weight)] = nn.Parameter(table.weight[:PROBE_ROWS].clone(), requires_grad=False)
    small = copy.deepcopy(model, memo)
    del decoder_layers(small)[kept:]
    small.config.get_text_config().num_hidden_layers = kept
    if isinstance(table, nn.Embedding):
        small.get_input_embeddings().padding_idx = None  # it may be beyond the rows that are left
    return small.float()


def _kind(layer: nn.Module) -> frozenset:
    """What distinguishes a layer from others of the same model, except its number and its weights' values."""
    settings = (
        (name, key, value)
        for name, module in layer.named_modules()
        for key, value in [("type", type(module).__name__), *vars(module).items()]
        if isinstance(value, bool | int | str | None) and not key.endswith(("idx", "layer_id", "layer_number"))
    )
    shapes = (("shape", name, tuple(weight.shape)) for name, weight in layer.named_parameters())
    return frozenset((*settings, *shapes))
