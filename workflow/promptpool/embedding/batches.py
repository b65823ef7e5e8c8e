"""Runs a family's texts through the model in batches: longest first, as many tokens as fit, without losing a text."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from ..models.both_ways import sees_all
from ..models.decoder import set_attention
from ..models.fused_layers import FusedLayers, worth_fusing
from ..models.memory import is_out_of_memory
from ..models.precision import EXACT, Precision, exact
from ..templates import Template
from .forward_passes import Found, Layout, SeparatePasses, TreePass, require_causal, takes_trees
from .packing import Trunk, longest_first, take
from .token_budget import TokenBudget


@dataclass(frozen=True)
class TreeWork:
    """One family's work. lead: ids before the text outside a shared head; middle: echo's."""

    templates: tuple[Template, ...]
    layout: Layout
    lead: tuple[int, ...] = ()
    middle: tuple[int, ...] | None = None

    def trunk(self, ids: Sequence[int]) -> Trunk:
        before = self.lead if self.middle is None else (*self.lead, *ids, *self.middle)
        return Trunk([*before, *ids], len(before), len(before) + len(ids))

    def alone(self) -> Layout:
        """The layout for texts that have no tokens of their own after the head."""
        return replace(self.layout, head=())


class Embedded(NamedTuple):
    """A batch: its texts by index, their vectors by layer [texts, parts, dim] float32, and whether all are finite."""

    group: list[int]
    vectors: dict[int, Tensor]
    finite: bool


class FamilyBatches:
    """A model and the size of a batch that fits. tokens: run through it so far, without padding and shared heads."""

    def __init__(self, model: PreTrainedModel, eos_id: int, budget: TokenBudget, precision: Precision = EXACT):
        self.model, self.eos_id = model, eos_id
        self.budget = budget
        self.precision = precision
        self.tokens = 0
        self.fused: FusedLayers | None = None
        self._kept: TreePass | SeparatePasses | None = None

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def takes_trees(self) -> bool:
        """Whether the model shares a pass between prompts. If it can't, a warning says so, once.

        Where a token sees what follows it, a text's states depend on its prompt's suffix, and nothing is shared.
        """
        model = self.model
        if sees_all(model):
            return False
        with exact(self.device):  # a question about the mask, not about rounding
            if takes_trees(model, self.eos_id):
                return True
            set_attention(model, "eager")
            require_causal(model)
        warnings.warn(
            f"{model.name_or_path}: {type(model).__name__} does not run under a tree mask; every prompt gets a pass of "
            "its own, which gives the same vectors in more time",
            stacklevel=2,
        )
        return False

    def worth_fusing(self, tokens: Callable[[], int]) -> bool:
        """Whether passes over so many tokens take so long that compiling the layers saves time: on a GPU alone."""
        return self.device.type == "cuda" and worth_fusing(self.model, tokens())

    def fuse_if_worth(self, fuse: bool | None, tokens: int) -> None:
        """Compiles the model's layers, once, if `fuse`; None: where passes over `tokens` are worth it.

        Not for a model whose prompts have passes of their own: their attention would be part of the graphs.
        """
        if fuse is None:
            fuse = self.worth_fusing(lambda: tokens)
        if fuse and self.fused is None and self.takes_trees:
            self.fused = FusedLayers(self.model)

    def run(self, work: TreeWork, trunks: Sequence[Trunk]) -> Iterator[Embedded]:
        """Batches of texts, longest first, with their vectors on the host. A batch that does not fit is halved."""
        bare = {index for index, trunk in enumerate(trunks) if not trunk.ids} if work.layout.head else set()
        if bare:
            rows, head = sorted(bare), work.layout.head
            for group, *found in self.run(
                replace(work, layout=work.alone()), [Trunk(head, len(head), len(head))] * len(rows)
            ):
                yield Embedded([rows[index] for index in group], *found)
        runner = self._runner(work.layout)
        nodes = len(work.layout.tree.ids)
        costs = [len(trunk.ids) + nodes for trunk in trunks]
        order = [index for index in longest_first(costs) if index not in bare]
        start = 0
        waiting: Callable[[], Embedded] | None = None
        while start < len(order):
            group = list(take(order, costs, start, self.budget.tokens))
            used = sum(costs[index] for index in group)
            found = self._try(runner, [trunks[index] for index in group])
            if found is None:
                if len(group) == 1:
                    raise PromptpoolError(
                        f"a text of {used} tokens does not fit in the memory of {self.device}; lower max_text_tokens"
                    )
                self.budget.failed(used)
                continue
            self.budget.worked(used)
            self.tokens += used
            start += len(group)
            if waiting:
                yield waiting()
            waiting = arriving(group, found)
        if waiting:
            yield waiting()

    def _runner(self, layout: Layout) -> TreePass | SeparatePasses:
        """Kept for the next chunk of the same family, with its head."""
        if self._kept is None or self._kept.layout != layout:
            kind = TreePass if self.takes_trees else SeparatePasses
            with self.precision.products(self.device):  # the head's keys, as the texts' own
                self._kept = kind(self.model, layout)
        return self._kept

    def _try(self, runner: TreePass | SeparatePasses, trunks: Sequence[Trunk]) -> Found | None:
        """None if memory ran out. The error is dropped here, with the tensors that its traceback holds."""
        try:
            with self.precision.products(self.device):
                return runner.run(trunks)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def arriving(group: list[int], found: Found) -> Callable[[], Embedded]:
    """Starts the copy to the host; the returned function waits for it. On a GPU the next batch starts meanwhile.

    A vector that is not finite has a sum that is not finite. A sum that overflows says nothing, and the vectors
    themselves are looked at.
    """
    arrived = to_host([*found.values(), torch.cat([parts.sum(-1).flatten() for parts in found.values()])])

    def embedded() -> Embedded:
        *vectors, sums = arrived()
        finite = bool(sums.isfinite().all()) or all(bool(parts.isfinite().all()) for parts in vectors)
        return Embedded(group, dict(zip(found, vectors, strict=True)), finite)

    return embedded


def to_host(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Starts the copy of a device's tensors; the returned function waits for it."""
    if all(there.device.type != "cuda" for there in tensors):
        return lambda: list(tensors)
    host = [
        torch.empty(there.shape, dtype=there.dtype, pin_memory=True).copy_(there, non_blocking=True)
        for there in tensors
    ]
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensors[0].device))  # without a stream it would wait for GPU 0's

    def arrived() -> list[Tensor]:
        copied.synchronize()
        return host

    return arrived
