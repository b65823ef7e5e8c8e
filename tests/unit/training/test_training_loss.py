"""The contrastive loss against a plain float64 one: same value, same gradients, with and without the cache."""

import math

import pytest
import torch
from promptpool.training.chunks import by_length, chunks_of
from promptpool.training.false_negatives import false_negatives
from promptpool.training.losses import FACTS, InfoNCE
from torch import nn

TEMPERATURE = 0.1
# Seven pairs. Pair 1 repeats pair 0's anchor; pair 2's positive is pair 0's; pair 3's positive is pair 4's anchor.
IDS = torch.tensor([[0, 10], [0, 11], [2, 10], [3, 4], [4, 14], [5, 15], [6, 16]])


class Toy(nn.Module):
    """Texts of 1 to 6 tokens -> the mean of learned vectors, in float64, with noise from torch's random state."""

    def __init__(self, noise: float = 0.0):
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(50, 8, dtype=torch.float64)
        self.mix = nn.Linear(8, 5, dtype=torch.float64)
        self.noise = noise

    def forward(self, features):
        mask = features["attention_mask"].double()[:, :, None]
        vectors = torch.tanh(self.mix((self.table(features["input_ids"]) * mask).sum(1) / mask.sum(1)))
        return {"sentence_embedding": nn.functional.dropout(vectors, self.noise)}


def batch(pairs: int = 7, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Two sides of right-padded texts, of different widths."""
    draw = torch.Generator().manual_seed(seed)
    sides = []
    for width in (4, 6):
        lengths = torch.randint(1, width + 1, (pairs,), generator=draw)
        lengths[0] = width
        mask = (torch.arange(width) < lengths[:, None]).long()
        ids = torch.randint(1, 50, (pairs, width), generator=draw) * mask
        sides.append({"input_ids": ids, "attention_mask": mask, "modality": "text"})
    return sides


def plain(model: Toy, sides, ids, *, margin: float, symmetric: bool, masked: bool) -> torch.Tensor:
    """The definition, a pair and a candidate at a time."""
    vectors = [model(side)["sentence_embedding"] for side in sides]
    texts = ids.tolist()

    def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b) / (a.norm() * b.norm())

    def direction(own: int, other: int) -> torch.Tensor:
        losses = []
        for i in range(len(texts)):
            top = torch.exp((cosine(vectors[own][i], vectors[other][i]) - margin) / TEMPERATURE)
            bottom = top
            for j in range(len(texts)):
                false = texts[j][other] in texts[i] or texts[j][own] == texts[i][own]
                if j != i and not (masked and false):
                    bottom = bottom + torch.exp(cosine(vectors[own][i], vectors[other][j]) / TEMPERATURE)
            losses.append(-torch.log(top / bottom))
        return torch.stack(losses).mean()

    return (direction(0, 1) + direction(1, 0)) / 2 if symmetric else direction(0, 1)


def result(loss: torch.Tensor, model: nn.Module) -> tuple[float, dict[str, torch.Tensor]]:
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize(
    "memory",
    [
        {"live_tokens": 10**6, "chunk_tokens": 10**6},
        {"live_tokens": 10**6, "chunk_tokens": 9},
        {"live_tokens": 0, "chunk_tokens": 9},
        {"live_tokens": 0, "chunk_tokens": 1},
        {"live_tokens": 25, "chunk_tokens": 9},
    ],
    ids=["one pass", "one pass in chunks", "all twice", "a text at a time", "some twice"],
)
def test_loss_and_gradients_are_those_of_the_definition(monkeypatch, masked, symmetric, margin, memory):
    monkeypatch.setattr("promptpool.training.losses.SCORE_ROWS", 3)  # the score matrix is cut, too
    recipe = {"margin": margin, "symmetric": symmetric}
    wanted, gradients = result(plain(reference := Toy(), batch(), IDS, masked=masked, **recipe), reference)
    ours = InfoNCE(Toy(), TEMPERATURE, mask_duplicates=masked, **recipe, **memory)
    value, found = result(ours(batch(), IDS), ours.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    assert set(found) == set(gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    "memory", [{"live_tokens": 10**6}, {"live_tokens": 0, "chunk_tokens": 9}], ids=["live", "cached"]
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_in_one_forward_are_micro_batches_one_by_one(memory, symmetric):
    """The same loss and gradients as accumulating over micro-batches, each with negatives of its own alone."""
    sides, ids, size = batch(6), IDS[:6], 2
    recipe = {"margin": 0.1, "symmetric": symmetric}
    apart = InfoNCE(Toy(), TEMPERATURE, live_tokens=10**6, **recipe)
    wanted = 0.0
    for start in range(0, 6, size):
        part = [{name: side[name][start : start + size] for name in ("input_ids", "attention_mask")} for side in sides]
        loss = apart(part, ids[start : start + size]) * size / 6
        loss.backward()
        wanted += loss.item()
    together = InfoNCE(Toy(), TEMPERATURE, block=size, **recipe, **memory)
    value, found = result(together(sides, ids), together.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    for name, weight in apart.model.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-9, atol=1e-13)
    counted = (dict(zip(FACTS, loss.take_facts().tolist(), strict=True)) for loss in (apart, together))
    assert len({(facts["rows"], facts["correct"], facts["negatives"]) for facts in counted}) == 1


@pytest.mark.parametrize("most", [128, 512, 4096, 16384])
@pytest.mark.parametrize("seed", range(3))
def test_at_most_a_tenth_of_a_step_is_padding(most, seed):
    draw = torch.Generator().manual_seed(seed)
    lengths = sorted((torch.randn(240, generator=draw) * 0.9 + 3.7).exp().clamp(12, 512).int().tolist(), reverse=True)
    ranges = chunks_of(lengths, most)
    assert [begin for begin, _ in ranges[1:]] == [end for _, end in ranges[:-1]]
    assert ranges[0][0] == 0 and ranges[-1][1] == len(lengths)
    computed = [lengths[begin] * (end - begin) for begin, end in ranges]
    assert sum(computed) * 0.9 <= sum(lengths)
    assert all(size <= most or end - begin == 1 for size, (begin, end) in zip(computed, ranges, strict=True))
    assert chunks_of([7] * 50, 10**6) == [(0, 50)]


def test_masking_and_margin_change_the_loss():
    values = [
        plain(Toy(), batch(), IDS, margin=margin, symmetric=symmetric, masked=masked).item()
        for margin in (0.0, 0.3) for symmetric in (True, False) for masked in (True, False)
    ]  # fmt: skip
    assert len({round(value, 9) for value in values}) == 8


def test_a_candidate_is_masked_for_each_of_three_reasons_and_an_own_positive_never():
    hidden = false_negatives(IDS, torch.arange(7))
    assert hidden.nonzero().tolist() == [
        [0, 1],  # its anchor is this anchor
        [0, 2],  # its text is this positive
        [1, 0],
        [2, 0],
        [4, 3],  # its text is this anchor
    ]
    everything = false_negatives(torch.zeros(3, 2, dtype=torch.long), torch.arange(3))
    assert everything.sum() == 6 and not everything.diagonal().any()


def test_the_other_direction_masks_anchors():
    assert false_negatives(IDS.flip(1), torch.arange(7)).nonzero().tolist() == [[0, 1], [0, 2], [1, 0], [2, 0], [3, 4]]


def test_a_pair_whose_every_candidate_is_masked_costs_nothing():
    ids = torch.tensor([[0, 1], [0, 1], [0, 1]])
    loss = InfoNCE(Toy(), TEMPERATURE, live_tokens=10**6)
    value, gradients = result(loss(batch(3), ids), loss.model)
    assert value == 0.0
    assert all(torch.isfinite(gradient).all() and gradient.abs().max() < 1e-15 for gradient in gradients.values())


def test_the_cache_replays_dropout():
    """With noise, both passes over a chunk draw the same; the loss of the first is the loss whose gradient comes."""
    loss = InfoNCE(Toy(noise=0.5).train(), TEMPERATURE, live_tokens=0, chunk_tokens=9)
    torch.manual_seed(5)
    value, gradients = result(loss(batch(), IDS), loss.model)
    direct = InfoNCE(Toy(noise=0.5).train(), TEMPERATURE, live_tokens=10**6, chunk_tokens=9)
    torch.manual_seed(5)
    wanted, others = result(direct(batch(), IDS), direct.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    for name, gradient in others.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-9, atol=1e-13)


def test_what_is_counted():
    loss = InfoNCE(Toy(), TEMPERATURE, live_tokens=0, chunk_tokens=9)
    loss(batch(), IDS).backward()
    facts = dict(zip(FACTS, loss.take_facts().tolist(), strict=True))
    tokens = sum(side["attention_mask"].sum().item() for side in batch())
    assert facts["rows"] == 7 and facts["negatives"] == 7 * 6 - 5 and facts["tokens"] == tokens
    assert 0 <= facts["correct"] <= 7 and facts["padded"] >= tokens
    assert loss.take_facts().sum() == 0


def test_accuracy_is_one_where_every_text_is_nearest_its_own():
    model, (side, _) = Toy(), batch(5)
    loss = InfoNCE(model, TEMPERATURE, live_tokens=10**6, margin=1.5)  # the margin is no part of the comparison
    value = loss([side, dict(side)], torch.arange(10).reshape(5, 2))
    facts = dict(zip(FACTS, loss.take_facts().tolist(), strict=True))
    assert facts["correct"] == 5 and value > math.log(5)


def test_texts_of_like_length_share_a_chunk():
    sides = batch(64, seed=2)
    together, places, known = by_length(sides)
    lengths = together["attention_mask"].sum(1)
    assert (lengths.diff() <= 0).all() and lengths.tolist() == known and len(known) == 128
    both = torch.cat([side["attention_mask"].sum(1) for side in sides])
    assert torch.equal(lengths[places], both)
    assert torch.equal(together["input_ids"][places][:64, :4], sides[0]["input_ids"])
    for chunk in (10**6, 24):
        loss = InfoNCE(Toy(), TEMPERATURE, live_tokens=10**6, chunk_tokens=chunk)
        loss(batch(64, seed=2), torch.arange(128).reshape(64, 2))
        facts = dict(zip(FACTS, loss.take_facts().tolist(), strict=True))
        assert facts["tokens"] == both.sum() and 0.9 * facts["padded"] <= facts["tokens"]
