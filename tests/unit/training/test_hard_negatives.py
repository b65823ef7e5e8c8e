"""A training with hard negatives: which texts a pair gets, in every form of recipe, and what is left out."""

import json
from pathlib import Path

import pandas as pd
import pytest
from promptpool.config.adapters import recipe
from promptpool.config.resolve import resolve
from promptpool.study.study import Study
from promptpool.training.false_negatives import ABSENT
from promptpool.training.hard_negatives import STAND_IN, filled, ids, sides, with_negatives
from promptpool.training.rank import train_rank
from promptpool.training.training_pairs import training_pairs
from sample_config import ROOT, demo, told
from tiny_training import SPEC, base_model, call, same, same_steps, weights, write_pairs

HARD = {"from": "mined", "count": 2}


def chosen(path: Path, pairs: Path, of: slice = slice(None)) -> str:
    """Two negatives of each pair of a slice: the positives of the pairs after it."""
    table = pd.read_parquet(pairs)
    rows = [
        {"text": row.text, "positive": row.positive, "negative": table["positive"][(row.Index + step) % len(table)]}
        for row in table[of].itertuples()
        for step in (1, 2)
    ]
    pd.DataFrame(rows).to_parquet(path)
    return str(path)


@pytest.fixture
def pairs(tmp_path) -> Path:
    return write_pairs(tmp_path / "pairs.parquet")


def test_a_pair_gets_its_own_negatives_in_order_and_none_where_it_has_fewer():
    table = pd.DataFrame({"text": ["a", "b", "c"], "positive": ["A", "B", "C"]}, index=[5, 6, 7])
    found = pd.DataFrame(
        {"text": ["b", "a", "a", "a"], "positive": ["B", "A", "A", "A"], "negative": ["x", "A2", "secret", "A3"]}
    )
    wide = with_negatives(table, found, 2, {"secret"})
    assert sides(wide) == ["text", "positive", "negative_1", "negative_2"] and wide.index.tolist() == [5, 6, 7]
    assert wide["negative_1"].tolist() == ["A2", "x", None] and wide["negative_2"].tolist() == ["A3", None, None]
    numbers = ids(wide[sides(wide)])
    assert numbers.shape == (3, 4) and (numbers == ABSENT).tolist() == wide[sides(wide)].isna().to_numpy().tolist()
    assert len(set(numbers.ravel().tolist())) == 10  # nine texts, and none
    assert filled(wide[sides(wide)])["negative_2"].tolist() == ["A3", STAND_IN, STAND_IN]


def test_no_text_of_a_held_out_pair_is_a_negative(tmp_path, pairs):
    spec = {"validation": 0.4, "seed": 7, "hard_negatives": HARD}
    table, held = training_pairs([str(pairs)], chosen(tmp_path / "n.parquet", pairs), spec)
    used = {text for name in ("negative_1", "negative_2") for text in table[name].dropna()}
    everything = pd.read_parquet(pairs)
    out = everything[~everything["text"].isin(table["text"])]
    assert len(held) > 5 and len(used) > 5
    assert not used & (set(out["text"]) | set(out["positive"]))


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"tokenization": "joint"}, {"noise": "published"}, {"noise": "published", "tokenization": "joint"},
        {"positives": "shuffled"}, {"symmetric": True, "mask_duplicates": False}, {"group_by_length": True},
        {"negatives": "micro_batch", "micro_batch_size": 4}, {"layer": 1},
    ],
    ids=str,
)  # fmt: skip
def test_every_recipe_trains_with_hard_negatives_and_can_be_repeated(tmp_path, pairs, changes):
    model, negatives = base_model(tmp_path), chosen(tmp_path / "n.parquet", pairs, slice(0, 40))
    for name, more in (("plain", {}), ("hard", {"hard_negatives": HARD}), ("again", {"hard_negatives": HARD})):
        given = call(model, pairs, tmp_path / name, **changes, **more)
        train_rank(**given, negatives=negatives if more else None)
    plain, hard, again = (weights(tmp_path / name, 3) for name in ("plain", "hard", "again"))
    assert same(hard, again) and not same(plain, hard)
    record = json.loads((tmp_path / "hard.meta.json").read_text())
    assert set(record["inputs"]) == {str(pairs), negatives} and record["spec"]["hard_negatives"] == HARD
    log = {name: pd.read_parquet(tmp_path / name / "training.parquet")["negatives"] for name in ("plain", "hard")}
    assert (log["hard"] > log["plain"] + (5 if changes.get("negatives") else 10)).all()


def test_memory_settings_change_nothing_but_rounding(tmp_path, pairs):
    model, negatives = base_model(tmp_path), chosen(tmp_path / "n.parquet", pairs)
    for name, execution in (("whole", {}), ("few", {"micro_batch_size": 1})):
        changes = {"lora": {**SPEC["lora"], "dropout": 0.0}, "hard_negatives": HARD}
        train_rank(**call(model, pairs, tmp_path / name, execution, **changes), negatives=negatives)
    same_steps([tmp_path / "whole", tmp_path / "few"], rtol=1e-4)


# --- the study ---------------------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_without_hard_negatives_a_study_is_as_before(here):
    study = Study(resolve(demo()))
    assert "hard_negatives" not in recipe(study.config, "halves") and study.with_negatives() == []
    assert study.adapter_negatives("halves") == []
    assert "hard_negatives" not in study.shown()["adapters"]["halves"]
    assert all("negative" not in spec for spec in study.shown()["corpora"].values())
    assert all("negative" not in study.hub_spec("corpora", name) for name in study["corpora"])


def test_only_the_adapter_that_asks_depends_on_negatives(here):
    study = Study(resolve(demo(adapters__halves__hard_negatives={"from": "mined"})))
    assert study.with_negatives() == ["halves"]
    assert study.adapter_negatives("halves") == [f"{study.results}/negatives/halves/negatives.parquet"]
    others = [name for name in study["adapters"] if name != "halves"]
    assert others and not any(study.adapter_negatives(name) for name in others)
    spec = study.negatives_spec("halves")
    assert spec["ranks"] == [1, 100] and spec["model"] is None and spec["contamination"]["action"] == "remove"
    assert study.negatives_code("halves") == [] and study.negatives_corpora("halves") == []
    assert recipe(study.config, "halves")["hard_negatives"]["count"] == 1


def test_a_model_that_mines_is_a_model_of_the_study(here):
    model = next(iter(demo()["models"]))
    study = Study(resolve(demo(adapters__halves__hard_negatives={"from": "mined", "model": model})))
    assert study.negatives_spec("halves")["model"]["model"] == study["models"][model]["path"]
    assert study.negatives_code("halves") == ["pairs.semantic.load_encoder"]
    assert study.negatives_files("halves")["files"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"from": "given"}, "adapters.halves.hard_negatives.from: given needs a corpus with negatives"),
        ({"from": "guessed"}, "adapters.halves.hard_negatives.from: unknown from 'guessed'"),
        ({"count": 1}, "adapters.halves.hard_negatives.from: missing"),
        ({"from": "mined", "ranks": [9, 3]}, "adapters.halves.hard_negatives.ranks: 9 is above 3"),
        ({"from": "mined", "ranks": [3]}, "adapters.halves.hard_negatives.ranks: [3] is too short; give at least 2"),
        ({"from": "mined", "model": "none/such"}, "adapters.halves.hard_negatives.model: no model named 'none/such'"),
        ({"from": "mined", "model": "./none"}, "adapters.halves.hard_negatives.model: no such directory: './none'"),
        ({"from": "mined", "prompt": "no slot"}, "adapters.halves.hard_negatives.prompt: 'no slot' needs exactly one"),
        ({"from": "mined", "count": 0}, "adapters.halves.hard_negatives.count: 0 is too small"),
    ],
    ids=str,
)
def test_a_fault_is_one_line_with_its_key(here, spec, said):
    assert said in told(demo(adapters__halves__hard_negatives=spec))
