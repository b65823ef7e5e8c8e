"""The contrastive loss: InfoNCE over all negatives of a step, even if they do not fit in memory.

sentence-transformers supplies the gradient cache (Gao et al., 2021, arXiv 2101.06983). This adds what its losses lack:
an additive margin, false negatives masked by identity, forwards over texts of similar length, and a cache that
recomputes only what memory could not hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from ..embedding.token_budget import TokenBudget
from ..errors import PromptpoolError
from ..models.precision import exact
from .chunks import by_length, cut_chunks
from .false_negatives import false_hard_negatives, false_negatives

SMALLEST = 256  # tokens: a chunk that does not fit is halved only while it holds more
SCORE_ROWS = 1024  # rows of the score matrix computed at once: bounds its memory, changes nothing else
FACTS = ("rows", "correct", "negatives", "tokens", "padded")


def info_nce(
    anchors: Tensor, candidates: Tensor, rows: Tensor, hidden: Tensor | None, temperature: float, margin: float
) -> tuple[Tensor, Tensor]:
    """Loss of each row, and whether its own candidate scores highest. Both [rows].

    anchors [n, dim] and candidates [m, dim] have length 1; row i's own candidate is i. hidden: bool [rows, m], left out
    of the softmax. The margin is subtracted from the own cosine before the temperature (Yang et al., 2019, arXiv
    1902.08564). The highest score is determined without it.
    """
    cosines = anchors[rows] @ candidates.T
    if hidden is not None:
        cosines = cosines.masked_fill(hidden, -torch.inf)
    correct = cosines.argmax(1) == rows
    own = torch.zeros_like(cosines).scatter_(1, rows[:, None], margin)
    return F.cross_entropy((cosines - own) / temperature, rows, reduction="none"), correct


class InfoNCE(CachedLossMixin, nn.Module):
    """Mean over a step's pairs of -log softmax(cosine / temperature), against all the step's other positives.

    `forward` takes the two sides' token ids and, as labels, int [n, 2] identities of texts (see `false_negatives`).
    Each further side is a hard negative of every pair, and a column of the labels: it is a negative of all the step's
    texts, as in SimCSE (Gao et al., 2021, arXiv 2104.08821), unless `false_hard_negatives` masks it.

    prefixes: numbers of dimensions. The loss of the vectors cut to their first so many, and scaled to length 1, is
    added for each (Kusupati et al., 2022, arXiv 2205.13147). The facts are counted on the whole vectors.

    symmetric: half the loss distinguishes each positive's own anchor from the other anchors. gather: the negatives of
    all ranks count. block: pairs whose texts are each other's only negatives, as in gradient accumulation over
    micro-batches of that size; None for the whole batch. The texts go through the model in chunks of at most
    chunk_tokens, of which at most PADDING is padding. Chunks of up to live_tokens together keep what their backward
    needs; the others are recomputed in the backward. Neither changes the loss. Tokens are counted with padding. packed:
    the model packs a chunk (packed.py), which then may hold texts of any lengths, and there is no padding.
    """

    def __init__(
        self,
        model: nn.Module,
        temperature: float,
        *,
        margin: float = 0.0,
        symmetric: bool = False,
        mask_duplicates: bool = True,
        gather: bool = False,
        block: int | None = None,
        prefixes: Sequence[int] = (),
        live_tokens: int = 0,
        chunk_tokens: int = 512,
        packed: bool = False,
    ):
        super().__init__()
        self.model = model
        self.temperature, self.margin, self.symmetric = temperature, margin, symmetric
        self.mask_duplicates, self.gather, self.block = mask_duplicates, gather, block
        self.prefixes, self.packed = tuple(prefixes), packed
        self.live, self.chunk = TokenBudget(live_tokens), TokenBudget(chunk_tokens)
        self.live_tokens, self.mini_batch_num_tokens = live_tokens, chunk_tokens
        self.mini_batch_size = 1  # texts of a chunk, if its tokens were not counted
        self.facts = torch.zeros(len(FACTS), dtype=torch.float64)
        self._places: Tensor | None = None  # of the current step: where by_length put each text,
        self._alive: dict[tuple[int, int], Tensor] = {}  # chunks whose graph is kept,
        self._left = 0  # and how many more tokens may be kept
        self._largest = (0, 0)  # the widest chunk: its tokens and its texts

    def forward(self, sentence_features: Iterable[Mapping[str, Tensor]], labels: Tensor) -> Tensor:
        features = list(sentence_features)
        self._places, self._alive, self._left, self._largest = None, {}, self.live_tokens, (0, 0)
        self.mini_batch_num_tokens = self.chunk.tokens
        if all("attention_mask" in side for side in features):  # else flattened: no padding to save
            together, self._places, lengths = by_length(features)
            features = cut_chunks(together, lengths, self.chunk.tokens, self.packed)
            self.mini_batch_num_tokens, self.mini_batch_size = None, labels.numel()  # a chunk is cut no further
        self._keys = {id(side): number for number, side in enumerate(features)}
        self._last = (len(features) - 1, len(features[-1].get("attention_mask", labels)))
        return self.forward_cached(features, labels)

    def embed_minibatch(self, sentence_feature, begin, end, with_grad, copy_random_state, random_state=None):
        """One chunk's vectors. The cache asks for each twice: without a graph, then with one for the backward."""
        key = (self._keys[id(sentence_feature)], begin)
        if with_grad:
            alive = self._alive.pop(key, None)
            if alive is not None:
                return alive, None
            return super().embed_minibatch(sentence_feature, begin, end, with_grad, copy_random_state, random_state)
        size = self._size(sentence_feature, begin, end)
        wrapped = isinstance(self.model, DistributedDataParallel)
        # Ranks share their gradients in the last chunk's backward, which needs its forward just before it.
        keeps = copy_random_state and size <= self._left and not (wrapped and (key[0], end) == self._last)
        with self.model.no_sync() if keeps and wrapped else nullcontext():
            vectors, state = super().embed_minibatch(sentence_feature, begin, end, keeps, copy_random_state)
        if keeps:
            self._alive[key], self._left = vectors, self._left - size
        return vectors, state

    def _size(self, sentence_feature: Mapping[str, Tensor], begin: int, end: int) -> int:
        """A chunk's tokens, including padding. Both counts go to the facts."""
        if "cu_seq_lens_q" in sentence_feature:
            tokens = padded = int(sentence_feature["cu_seq_lens_q"][end] - sentence_feature["cu_seq_lens_q"][begin])
        else:
            tokens = sentence_feature["tokens"]
            padded = tokens if self.packed else sentence_feature["attention_mask"].numel()
        self._count(tokens=tokens, padded=padded)
        self._largest = max(self._largest, (padded, end - begin))
        return padded

    def shrink(self) -> bool:
        """Halves the chunk after OOM; False if already minimal.

        If the kept graphs hold more tokens than the largest chunk, only half of what they held may be kept; otherwise
        the chunk itself is halved. Both are measured by what the failed step held. Neither changes the loss.
        """
        kept = max(0, self.live_tokens - self._left)
        padded, texts = self._largest
        self._alive.clear()
        halves = texts > 1 and padded > SMALLEST
        if kept > padded or (kept and not halves):
            self.live.failed(kept)
            if kept <= SMALLEST:
                self.live.tokens = 0
        elif halves:
            self.chunk.failed(padded)
        else:
            return False
        self.live_tokens = self.live.tokens
        return True

    def grow(self) -> None:
        """After a step that fitted: slowly back up, to three quarters of what did not fit."""
        for budget in (self.live, self.chunk):
            budget.worked(budget.tokens)
        self.live_tokens = self.live.tokens

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """In float32 outside of autocast, whatever the model's precision."""
        with exact(reps[0][0].device):
            return self._loss(reps, labels, with_backward)

    def _loss(self, reps: list[list[Tensor]], labels: Tensor | None, with_backward: bool) -> Tensor:
        sides = [torch.cat(chunks) for chunks in reps]
        if self._places is not None:  # a chunk is a column of its own
            sides = list(torch.cat(sides)[self._places].chunk(labels.shape[1]))
        if not self.prefixes:
            return self._loss_of(sides, labels, with_backward)
        # The gradient reaches the vectors once, not once per prefix.
        ends = sides
        if with_backward:
            sides = [side.detach().requires_grad_() for side in ends]
        total = self._loss_of(sides, labels, with_backward)
        facts = self.facts.clone()
        for dim in self.prefixes:
            total = total + self._loss_of([side[:, :dim] for side in sides], labels, with_backward)
        self.facts = facts
        if with_backward:
            torch.autograd.backward(ends, [side.grad for side in sides])
        return total

    def _loss_of(self, sides: list[Tensor], labels: Tensor, with_backward: bool) -> Tensor:
        """The loss of all sides' vectors, each [n, dim]."""
        local = len(sides[0])
        sides = [F.normalize(side if side.dtype == torch.float64 else side.float(), dim=1) for side in sides]
        ids, start = labels, 0
        if self.gather:
            sides = list(map(all_gather_with_grad, sides))
            ids, start = all_gather(labels), get_rank() * local
        anchors, candidates = sides[0], sides[1] if len(sides) == 2 else torch.cat(sides[1:])
        # The gradient reaches the vectors once, not once per block of rows.
        ends = [anchors, candidates]
        if with_backward:
            anchors, candidates = (side.detach().requires_grad_() for side in ends)
        total = torch.zeros((), dtype=anchors.dtype, device=anchors.device)
        for rows in torch.arange(start, start + local, device=anchors.device).split(SCORE_ROWS):
            loss = self._rows(anchors, candidates, ids, rows) / local
            if with_backward:
                loss.backward()
            total = total + (loss.detach() if with_backward else loss)
        if with_backward:
            torch.autograd.backward(ends, [anchors.grad, candidates.grad])
        return total

    def _rows(self, anchors: Tensor, candidates: Tensor, ids: Tensor, rows: Tensor) -> Tensor:
        """The summed loss of some rows. candidates: every pair's positive, then its hard negatives."""
        hidden = self._hidden(ids[:, :2], rows)
        if ids.shape[1] > 2:
            none = torch.zeros(len(rows), len(ids), dtype=torch.bool, device=rows.device)
            hidden = torch.cat([none if hidden is None else hidden, self._hard(ids, rows)], dim=1)
        losses, correct = info_nce(anchors, candidates, rows, hidden, self.temperature, self.margin)
        masked = hidden.sum() if hidden is not None else torch.zeros((), device=rows.device)
        self._count(rows=len(rows), correct=correct.sum(), negatives=len(rows) * (len(candidates) - 1) - masked)
        if not self.symmetric:
            return losses.sum()
        hidden = self._hidden(ids[:, :2].flip(1), rows)
        back, _ = info_nce(candidates[: len(ids)], anchors, rows, hidden, self.temperature, self.margin)
        return (losses.sum() + back.sum()) / 2

    def _hidden(self, ids: Tensor, rows: Tensor) -> Tensor | None:
        """Which candidates are left out, bool [rows, n]: false negatives, and those of other blocks."""
        hidden = false_negatives(ids, rows) if self.mask_duplicates else None
        others = self._others(len(ids), rows)
        return others if hidden is None else hidden if others is None else hidden | others

    def _hard(self, ids: Tensor, rows: Tensor) -> Tensor:
        """The same of hard negatives, bool [rows, k * n]."""
        hidden, others = false_hard_negatives(ids, rows, self.mask_duplicates), self._others(len(ids), rows)
        return hidden if others is None else hidden | others.repeat(1, ids.shape[1] - 2)

    def _others(self, pairs: int, rows: Tensor) -> Tensor | None:
        """Which pairs are of another block than a row, bool [rows, n]; None if all are of one."""
        if self.block is None or self.block >= pairs:
            return None
        places = torch.arange(pairs, device=rows.device) // self.block
        return places[rows, None] != places

    def _count(self, **counts: Tensor | int) -> None:
        some = next((value for value in counts.values() if isinstance(value, Tensor)), None)
        if some is not None and self.facts.device != some.device:
            self.facts = self.facts.to(some.device)
        for name, value in counts.items():
            self.facts[FACTS.index(name)] += value

    def take_facts(self) -> Tensor:
        """The counts since the last call, float64 [len(FACTS)]. Resets them."""
        facts, self.facts = self.facts, torch.zeros_like(self.facts)
        return facts


def require_prefixes(prefixes: Sequence[int], width: int, where: str) -> None:
    """Raises PromptpoolError for a prefix that is not shorter than the vectors."""
    if prefixes and max(prefixes) >= width:
        raise PromptpoolError(
            f"{where}: matryoshka: its vectors have {width} dimensions, and {max(prefixes)} is not fewer; name smaller "
            "numbers"
        )
