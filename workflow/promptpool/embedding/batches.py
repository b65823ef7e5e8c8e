"""Runs a family's texts through the model in batches: longest first, as many tokens as fit, without losing a text."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedModel

from ..errors import PromptpoolError
from ..models.memory import is_out_of_memory
from ..models.precision import EXACT, Precision, exact
from ..templates import Template
from .forward_passes import Found, Layout, SeparatePasses, TreePass, require_causal, set_attention, takes_trees
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


class FamilyBatches:
    """A model and the size of a batch that fits. tokens: run through it so far, without padding and shared heads."""

    def __init__(self, model: PreTrainedModel, eos_id: int, budget: TokenBudget, precision: Precision = EXACT):
        self.model, self.eos_id = model, eos_id
        self.budget = budget
        self.precision = precision
        self.tokens = 0
        self._kept: TreePass | SeparatePasses | None = None

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def takes_trees(self) -> bool:
        """Whether the model shares a pass between prompts. If it can't, a warning says so, once."""
        model = self.model
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

    def run(self, work: TreeWork, trunks: Sequence[Trunk]) -> Iterator[tuple[list[int], dict[int, np.ndarray]]]:
        """Batches of texts by index, longest first, with their vectors. A batch that does not fit is halved."""
        bare = {index for index, trunk in enumerate(trunks) if not trunk.ids} if work.layout.head else set()
        if bare:
            rows, head = sorted(bare), work.layout.head
            for group, found in self.run(
                replace(work, layout=work.alone()), [Trunk(head, len(head), len(head))] * len(rows)
            ):
                yield [rows[index] for index in group], found
        runner = self._runner(work.layout)
        nodes = len(work.layout.tree.ids)
        costs = [len(trunk.ids) + nodes for trunk in trunks]
        order = [index for index in longest_first(costs) if index not in bare]
        start = 0
        waiting: tuple[list[int], Callable] | None = None
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
                yield waiting[0], waiting[1]()
            waiting = group, to_host(found)
        if waiting:
            yield waiting[0], waiting[1]()

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


def to_host(found: Found) -> Callable[[], dict[int, np.ndarray]]:
    """Starts the copy to the host; the returned function waits for it. On a GPU the next batch starts meanwhile."""
    if all(parts.device.type != "cuda" for parts in found.values()):
        return lambda: {number: parts.numpy() for number, parts in found.items()}
    host = {
        number: torch.empty(parts.shape, dtype=parts.dtype, pin_memory=True).copy_(parts, non_blocking=True)
        for number, parts in found.items()
    }
    device = next(iter(found.values())).device
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(device))  # without a stream it would wait for GPU 0's, on any device

    def arrived() -> dict[int, np.ndarray]:
        copied.synchronize()
        return {number: parts.numpy() for number, parts in host.items()}

    return arrived
