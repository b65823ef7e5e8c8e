"""The Matryoshka loss: sentence-transformers' value on the same vectors, the cache, and dimensions by name."""

import pandas as pd
import pytest
import torch
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.training.losses import FACTS, InfoNCE
from promptpool.training.rank import train_rank
from sample_config import ROOT, demo, told
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from test_hard_negatives_loss import MEMORY, WITH, given_sides, model_of, sides
from test_training_loss import IDS, TEMPERATURE, Toy, batch, result
from tiny_training import SPEC, base_model, call, same, weights, write_pairs

WIDTH, PREFIXES = 6, (2, 3)


def vectors(rows: int) -> torch.Tensor:
    """In float64: in float32 the order of sums alone may move a gradient by 1.5e-5 of its value."""
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize("negatives", [0, 2])
@pytest.mark.parametrize("kind", [MultipleNegativesRankingLoss, CachedMultipleNegativesRankingLoss])
def test_value_and_gradients_are_sentence_transformers(negatives, kind):
    count, pairs = 2 + negatives, 8
    model = model_of(vectors(count * pairs))
    model.get_embedding_dimension = lambda: WIDTH
    cached = {"mini_batch_size": 3} if kind is CachedMultipleNegativesRankingLoss else {}
    theirs = MatryoshkaLoss(model, kind(model, scale=1 / TEMPERATURE, **cached), [WIDTH, *PREFIXES])
    wanted, gradients = result(theirs(given_sides(count, pairs), None), model)
    ours = InfoNCE(model_of(vectors(count * pairs)), TEMPERATURE, prefixes=PREFIXES, chunk_tokens=3)
    labels = torch.arange(count * pairs).reshape(count, pairs).T
    value, found = result(ours(given_sides(count, pairs), labels), ours.model)
    assert value == pytest.approx(wanted, rel=1e-9)
    torch.testing.assert_close(found["0.vectors"], gradients["0.vectors"], rtol=1e-9, atol=1e-12)


class Cut(Toy):
    """The same model, whose vectors are cut."""

    dim = 5

    def forward(self, features):
        return {"sentence_embedding": super().forward(features)["sentence_embedding"][:, : self.dim]}


@pytest.mark.parametrize("memory", MEMORY, ids=["one pass", "in chunks", "all twice", "a text at a time", "some twice"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("block", [None, 3])
def test_it_is_the_sum_of_the_losses_of_cut_vectors_in_any_memory(monkeypatch, memory, hard, block):
    monkeypatch.setattr("promptpool.training.losses.SCORE_ROWS", 3)
    texts, ids = (sides(), WITH) if hard else (batch(), IDS)
    recipe = {"margin": 0.1, "symmetric": True, "block": block}
    wanted, gradients = 0.0, {}
    for dim in (5, 2, 4):
        plain = InfoNCE(Cut(), TEMPERATURE, live_tokens=10**6, **recipe)
        plain.model.dim = dim
        value, own = result(plain(texts, ids), plain.model)
        wanted += value
        gradients = {name: gradients.get(name, 0) + gradient for name, gradient in own.items()}
        if dim == 5:
            facts = plain.take_facts()
    ours = InfoNCE(Toy(), TEMPERATURE, prefixes=(2, 4), **recipe, **memory)
    value, found = result(ours(texts, ids), ours.model)
    assert value == pytest.approx(wanted, rel=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13)
    assert ours.take_facts()[: FACTS.index("tokens")].equal(facts[: FACTS.index("tokens")])


def test_a_training_with_it_is_another_one_and_can_be_repeated(tmp_path):
    model, pairs = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    for name, changes in (("plain", {}), ("nested", {"matryoshka": [4, 16]}), ("again", {"matryoshka": [4, 16]})):
        train_rank(**call(model, pairs, tmp_path / name, **changes))
    plain, nested, again = (weights(tmp_path / name, 3) for name in ("plain", "nested", "again"))
    assert same(nested, again) and not same(plain, nested)
    loss = [pd.read_parquet(tmp_path / name / "training.parquet")["loss"][0] for name in ("plain", "nested")]
    assert loss[1] > 2 * loss[0]


@pytest.mark.parametrize("dim", [32, 400])
def test_a_dimension_that_the_model_lacks_is_named(tmp_path, dim):
    model, pairs = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    with pytest.raises(PromptpoolError, match=f"its vectors have 32 dimensions, and {dim} is not fewer"):
        train_rank(**call(model, pairs, tmp_path / "x", matryoshka=[4, dim]))
    assert SPEC["pooling"] == "last"


def test_the_config_checks_it_and_is_as_before_without(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "matryoshka" not in recipe(resolve(demo()), "halves")
    assert recipe(resolve(demo(adapters__halves__matryoshka=[32, 64])), "halves")["matryoshka"] == [32, 64]
    line = told(demo(adapters__halves__matryoshka=[32, 4096]))
    assert "adapters.halves.matryoshka: 4096 is not fewer than the 256 dimensions of the vectors of" in line
    assert "adapters.halves.matryoshka: 0 is too small" in told(demo(adapters__halves__matryoshka=[0]))
