"""The control `positives: shuffled`: the same texts and positives, and no pair that was one before."""

import json

import pandas as pd
import pytest
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.errors import PromptpoolError
from promptpool.training import rank
from promptpool.training.rank import train_rank
from promptpool.training.shuffled_positives import shuffled_positives
from sample_config import ROOT, demo
from tiny_training import base_model, call, same, weights, write_pairs


def pairs(n: int, sets: int = 1, alike: int = 1) -> pd.DataFrame:
    """n pairs; each text has `alike` positives, each positive is that of `alike` texts."""
    rows = [
        {"text": f"t{i // alike}", "positive": f"p{i // alike}-{i % alike}", "source_id": str(i), "set": i % sets}
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def own(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["text"], table["positive"], strict=True))


@pytest.mark.parametrize(("n", "alike"), [(2, 1), (3, 1), (5, 1), (48, 1), (48, 5), (1000, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_no_pair_is_kept(n, alike, seed):
    table = pairs(n, alike=alike)
    found = shuffled_positives(table, seed)
    assert not own(found) & own(table)
    assert found["text"].tolist() == table["text"].tolist()
    assert sorted(found["positive"]) == sorted(table["positive"])
    assert found.index.equals(table.index)


def test_positives_stay_in_their_set():
    table = pairs(60, sets=3)
    found = shuffled_positives(table, 1)
    assert not own(found) & own(table)
    for number in range(3):
        before, after = (set(one.loc[one["set"] == number, "positive"]) for one in (table, found))
        assert before == after


def test_the_seed_decides():
    table = pairs(40)
    assert shuffled_positives(table, 1).equals(shuffled_positives(table, 1))
    assert not shuffled_positives(table, 1).equals(shuffled_positives(table, 2))


@pytest.mark.parametrize("table", [pairs(1), pairs(4, alike=4), pairs(3).assign(positive="same")])
def test_too_few_or_too_alike_pairs_are_refused(table):
    with pytest.raises(PromptpoolError, match=r"leaves a text with its own positive, as .* make more pairs"):
        shuffled_positives(table, 0)


def test_training_reads_the_shuffled_pairs_and_validates_on_the_true_ones(tmp_path, monkeypatch):
    model, given = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    true = own(pd.read_parquet(given))
    seen = {}
    prepared = rank.prepared

    def watched(table, held, *rest):
        seen[rest[2]["positives"]] = own(table), own(held)
        return prepared(table, held, *rest)

    monkeypatch.setattr(rank, "prepared", watched)
    for name in ("own", "shuffled"):
        train_rank(**call(model, given, tmp_path / name, positives=name, validation=0.2))
    assert not same(*(weights(tmp_path / name, 3) for name in seen))
    assert seen["own"][0] <= true and not seen["shuffled"][0] & true
    assert seen["own"][1] == seen["shuffled"][1] <= true  # so that accuracies can be compared
    told = json.loads((tmp_path / "shuffled.meta.json").read_text())
    assert told["spec"]["positives"] == "shuffled"


def test_the_default_is_no_part_of_a_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = resolve(demo(), files=False)
    name = next(iter(config["adapters"]))
    assert "positives" not in recipe(config, name)
    config["adapters"][name]["positives"] = "shuffled"
    assert recipe(config, name)["positives"] == "shuffled"
