"""Hard negatives in the contrastive loss: the definition's value and gradients, and sentence-transformers' value."""

import pytest
import torch
from promptpool.training.false_negatives import ABSENT, false_hard_negatives
from promptpool.training.losses import FACTS, InfoNCE
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from test_training_loss import IDS, TEMPERATURE, Toy, batch, result
from torch import nn
from torch.nn import functional as F

# Two hard negatives of each of seven pairs. Pair 0's first is pair 3's anchor; pair 1's first is pair 2's positive.
HARD = torch.tensor([[3, 20], [10, 21], [22, ABSENT], [23, 24], [ABSENT, ABSENT], [25, 26], [27, 20]])
WITH = torch.cat([IDS, HARD], dim=1)
MEMORY = [
    {"live_tokens": 10**6, "chunk_tokens": 10**6},
    {"live_tokens": 10**6, "chunk_tokens": 9},
    {"live_tokens": 0, "chunk_tokens": 9},
    {"live_tokens": 0, "chunk_tokens": 1},
    {"live_tokens": 25, "chunk_tokens": 9},
]


def sides(pairs: int = 7) -> list[dict[str, torch.Tensor]]:
    """Four right-padded sides: anchors, positives, and two of hard negatives."""
    return batch(pairs) + batch(pairs, seed=1)


def plain(model: Toy, ids: torch.Tensor, *, margin: float, symmetric: bool, masked: bool, block: int = 7):
    """The definition, a pair and a candidate at a time."""
    vectors = [F.normalize(model(side)["sentence_embedding"], dim=1) for side in sides()]
    texts, n, losses = ids.tolist(), len(ids), []
    for i in range(n):
        here = [j for j in range(n) if j // block == i // block]
        own = (vectors[0][i] @ vectors[1][i] - margin) / TEMPERATURE
        terms = [own]
        for j in here:
            false = texts[j][1] in texts[i][:2] or texts[j][0] == texts[i][0]
            if j != i and not (masked and false):
                terms.append(vectors[0][i] @ vectors[1][j] / TEMPERATURE)
            for slot in (2, 3):
                if texts[j][slot] != ABSENT and not (masked and texts[j][slot] in texts[i][:2]):
                    terms.append(vectors[0][i] @ vectors[slot][j] / TEMPERATURE)
        forward = torch.logsumexp(torch.stack(terms), 0) - own
        back = [own]
        for j in here:
            false = texts[j][0] in texts[i][:2] or texts[j][1] == texts[i][1]
            if j != i and not (masked and false):
                back.append(vectors[1][i] @ vectors[0][j] / TEMPERATURE)
        backward = torch.logsumexp(torch.stack(back), 0) - own
        losses.append((forward + backward) / 2 if symmetric else forward)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("memory", MEMORY, ids=["one pass", "in chunks", "all twice", "a text at a time", "some twice"])
def test_loss_and_gradients_are_those_of_the_definition(monkeypatch, masked, symmetric, margin, memory):
    monkeypatch.setattr("promptpool.training.losses.SCORE_ROWS", 3)
    recipe = {"margin": margin, "symmetric": symmetric}
    wanted, gradients = result(plain(reference := Toy(), WITH, masked=masked, **recipe), reference)
    ours = InfoNCE(Toy(), TEMPERATURE, mask_duplicates=masked, **recipe, **memory)
    value, found = result(ours(sides(), WITH), ours.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("memory", [MEMORY[0], MEMORY[2]], ids=["live", "cached"])
def test_a_micro_batch_has_the_hard_negatives_of_its_own_pairs(memory):
    recipe = {"margin": 0.1, "symmetric": True}
    wanted, gradients = result(plain(reference := Toy(), WITH, masked=True, block=3, **recipe), reference)
    ours = InfoNCE(Toy(), TEMPERATURE, block=3, **recipe, **memory)
    value, found = result(ours(sides(), WITH), ours.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13)


class Given(nn.Module):
    """Vectors that are looked up by a text's one token."""

    def __init__(self, vectors: torch.Tensor):
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, features):
        return {"sentence_embedding": self.vectors[features["input_ids"][:, 0]]}


def model_of(vectors: torch.Tensor) -> nn.Sequential:
    """As sentence-transformers' losses want a model: a sequence of modules."""
    return nn.Sequential(Given(vectors.clone()))


def given_sides(count: int, pairs: int) -> list[dict[str, torch.Tensor]]:
    return [
        {"input_ids": torch.arange(start * pairs, (start + 1) * pairs)[:, None],
         "attention_mask": torch.ones(pairs, 1, dtype=torch.long), "modality": "text"}
        for start in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_value_and_gradients_are_sentence_transformers(negatives):
    count, pairs = 2 + negatives, 8
    vectors = torch.randn(count * pairs, 6, generator=torch.Generator().manual_seed(1))
    theirs = CachedMultipleNegativesRankingLoss(model_of(vectors), scale=1 / TEMPERATURE, mini_batch_size=3)
    ours = InfoNCE(model_of(vectors), TEMPERATURE, live_tokens=0, chunk_tokens=3)
    wanted, gradients = result(theirs(given_sides(count, pairs), None), theirs.model)
    labels = torch.arange(count * pairs).reshape(count, pairs).T
    value, found = result(ours(given_sides(count, pairs), labels), ours.model)
    assert value == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(found["0.vectors"], gradients["0.vectors"], rtol=1e-5, atol=1e-7)


def test_without_hard_negatives_the_loss_is_to_the_bit_what_it_was():
    """As written before there were any: cosines, mask, margin, cross entropy, over the positives alone."""
    vectors = torch.randn(14, 6, generator=torch.Generator().manual_seed(2))
    ours = InfoNCE(model_of(vectors), TEMPERATURE, margin=0.1, live_tokens=10**6, chunk_tokens=10**6)
    value, found = result(ours(given_sides(2, 7), IDS), ours.model)
    plainly = nn.Parameter(vectors.clone())
    ends = [F.normalize(side.float(), dim=1) for side in plainly[torch.arange(14)].chunk(2)]
    anchors, positives = (side.detach().requires_grad_() for side in ends)
    own = IDS[:, :1] == IDS[None, :, 0]
    hidden = (IDS[None, :, 1] == IDS[:, :1]) | (IDS[None, :, 1] == IDS[:, 1:]) | own
    hidden.fill_diagonal_(False)
    cosines = (anchors @ positives.T).masked_fill(hidden, -torch.inf)
    rows = torch.arange(7)
    margin = torch.zeros_like(cosines).scatter_(1, rows[:, None], 0.1)
    loss = F.cross_entropy((cosines - margin) / TEMPERATURE, rows, reduction="none").sum() / 7
    loss.backward()
    torch.autograd.backward(ends, [anchors.grad, positives.grad])
    assert value == loss.item()
    assert torch.equal(found["0.vectors"], plainly.grad)


def test_pairs_without_any_hard_negative_train_as_if_there_were_none():
    absent = torch.cat([IDS, torch.full((7, 2), ABSENT)], dim=1)
    alone, beside = (InfoNCE(Toy(), TEMPERATURE, live_tokens=10**6) for _ in range(2))
    wanted, gradients = result(alone(batch(), IDS), alone.model)
    value, found = result(beside(sides(), absent), beside.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13)
    facts = [dict(zip(FACTS, loss.take_facts().tolist(), strict=True)) for loss in (alone, beside)]
    assert facts[0]["negatives"] == facts[1]["negatives"] and facts[0]["correct"] == facts[1]["correct"]


def test_a_hard_negative_is_masked_where_it_is_the_rows_own_text():
    hidden = false_hard_negatives(WITH, torch.arange(7), True)
    absent = {(row, column) for row in range(7) for column in (4, 9, 11)}  # of pairs 2 and 4, side after side
    assert {tuple(place) for place in hidden.nonzero().tolist()} - absent == {
        (3, 0),  # pair 0's first is this anchor
        (0, 1), (2, 1),  # pair 1's first is this positive
    }  # fmt: skip
    unmasked = false_hard_negatives(WITH, torch.arange(7), False)
    assert {tuple(place) for place in unmasked.nonzero().tolist()} == absent
    loss = InfoNCE(Toy(), TEMPERATURE, live_tokens=10**6)
    loss(sides(), WITH)
    facts = dict(zip(FACTS, loss.take_facts().tolist(), strict=True))
    assert facts["negatives"] == 7 * 6 - 5 + 7 * 11 - 3
