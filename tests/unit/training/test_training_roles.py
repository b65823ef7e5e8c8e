"""Training by role: a pair's text is read under the query prompt, its positive under the document prompt."""

import json

import pandas as pd
import pytest
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.templates import Template
from promptpool.training.rank import train_rank
from promptpool.training.trainer import ContrastiveTrainer
from promptpool.training.validation import hold_out
from tiny_training import TEMPLATE, base_model, call, same, weights, write_pairs

pytestmark = pytest.mark.usefixtures("one_thread")
ROLES = {"query": TEMPLATE, "document": "{text} is found"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet")


def trained(model, pairs, out, template, **changes):
    train_rank(**call(model, pairs, out, **changes) | {"template": template})
    return out


def test_the_two_sides_of_a_batch_are_composed_by_role(model, pairs, tmp_path, monkeypatch):
    seen = []
    step = ContrastiveTrainer.training_step

    def watched(self, tuned, inputs, *args, **how):
        for name in ("text", "positive"):
            ids, mask = inputs[f"{name}_input_ids"], inputs[f"{name}_attention_mask"]
            seen.append((name, [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)]))
        return step(self, tuned, inputs, *args, **how)

    monkeypatch.setattr(ContrastiveTrainer, "training_step", watched)
    out = trained(model, pairs, tmp_path / "tuned", ROLES)
    engine, table = Embedder.load(str(model), device="cpu", max_text_tokens=16), pd.read_parquet(pairs)
    composed = {
        side: [list(engine.composer.compose(Template.parse("p", ROLES[role]), text).ids) for text in table[side]]
        for side, role in (("text", "query"), ("positive", "document"))
    }
    assert {name for name, _ in seen} == {"text", "positive"} and len(seen) == 6
    for name, rows in seen:
        assert all(row in composed[name] for row in rows)
    assert json.loads(out.with_name("tuned.meta.json").read_text())["spec"]["template"] == ROLES


def test_the_same_prompt_in_both_roles_trains_the_same_weights(model, pairs, tmp_path):
    one = trained(model, pairs, tmp_path / "one", TEMPLATE)
    both = trained(model, pairs, tmp_path / "both", {"query": TEMPLATE, "document": TEMPLATE})
    other = trained(model, pairs, tmp_path / "other", ROLES)
    assert same(weights(one, 3), weights(both, 3)) and not same(weights(one, 3), weights(other, 3))


def test_held_out_pairs_are_looked_for_by_role(model, pairs, tmp_path):
    out = trained(model, pairs, tmp_path / "tuned", ROLES, validation=0.5)
    measured = pd.read_parquet(out / "validation.parquet").set_index("step")["accuracy"][0]
    _, held = hold_out(pd.read_parquet(pairs), 0.5, 7)
    engine = Embedder.load(str(model), device="cpu", max_text_tokens=16)
    sides = [
        torch.nn.functional.normalize(torch.from_numpy(engine.encode(held[side].tolist(), ROLES[role], "last")), dim=1)
        for side, role in (("text", "query"), ("positive", "document"))
    ]
    hits = (sides[0] @ sides[1].T).argmax(1) == torch.arange(len(held))
    assert measured == pytest.approx(float(hits.float().mean()))
