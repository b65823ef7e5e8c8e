"""The verdict on held-out pairs: a damaged model is worse, an equal one no different, a tuned one as it is measured."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.artifacts.integrity import fault_of
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.vector_file import read_vectors
from promptpool.models.checkpoint import Checkpoint
from promptpool.scoring.judge_tuning import Judged, judge_tuning
from promptpool.scoring.verdict import advice_of, compare_searches, headline_of, verdict_of
from promptpool.training.rank import train_rank
from promptpool.training.validation import hold_out, wilson
from safetensors.torch import load_file, save_file
from tiny_training import TEMPLATE, base_model, call, write_pairs

VALIDATION, LAST = 0.4, 60
GRID = {"max_text_tokens": 32}


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A model, pairs, and adapters: `tuned`, and `equal` and `damaged`, which are changed by hand."""
    folder = tmp_path_factory.mktemp("verdict")
    model, pairs = base_model(folder), write_pairs(folder / "pairs.parquet", 200)
    how = {"steps": [LAST], "max_steps": LAST, "validation": VALIDATION, "batch_size": 32}
    train_rank(**call(model, pairs, folder / "tuned", **how))
    for name, factor in (("equal", 1e-6), ("damaged", 40.0)):
        shutil.copytree(folder / "tuned", folder / name)
        file = folder / name / f"step-{LAST}/adapter_model.safetensors"
        noise = torch.Generator().manual_seed(1)
        save_file(
            {
                key: factor * torch.randn(weight.shape, generator=noise) if "lora_B" in key else weight
                for key, weight in load_file(file).items()
            },
            file,
        )
    return folder


def judged(room: Path, names: list[str], **changes: object) -> Judged:
    own = {
        "adapter": "tuned", "model": "small", "step": LAST,
        "seeds": {7 + place: str(room / name) for place, name in enumerate(names)},
        "prompt": "cluster", "template": TEMPLATE, "pooling": "last",
        "sets": {"halves": (str(room / "pairs.parquet"), {"styles": ["halves"], "model": None, "corpus": "lines"})},
        "recipe": {"validation": VALIDATION, "batch_size": 32, "learning_rate": 0.01},
    }  # fmt: skip
    return Judged(**{**own, **changes})


def judge(room: Path, out: Path, names: list[str], **changes: object) -> dict:
    checkpoint = Checkpoint(str(room / "model"), device="cpu")
    judge_tuning(str(out / "verdict.json"), str(out / "verdict.txt"), judged=judged(room, names, **changes),
                 checkpoint=checkpoint, grid=GRID)  # fmt: skip
    return json.loads((out / "verdict.json").read_text(encoding="utf-8"))


def numbers(found: dict, measure: str = "recall@1") -> tuple[float, float]:
    return tuple(found["measures"][measure]["scores"][name]["value"] for name in ("tuned", "untuned"))


def test_tuning_on_pairs_is_better_on_held_out_ones(room, tmp_path):
    found = judge(room, tmp_path, ["tuned"])
    tuned, untuned = numbers(found)
    assert found["verdict"] == "better" and tuned > untuned + 0.05
    assert found["n"] > 200 and found["styles"] == {"halves": found["n"]}
    line, caveat, *advice = (tmp_path / "verdict.txt").read_text(encoding="utf-8").splitlines()
    assert line == found["line"] and line.startswith("Better: tuned finds a held-out text's partner first in")
    assert "halves" in caveat and advice == found["advice"]
    assert "share words" in advice[0]  # the made-up pairs differ by a word, so counting words finds them all
    assert found["measures"]["recall@1"]["scores"]["BM25"]["value"] > 0.95


def test_the_numbers_are_those_of_plain_vectors(room, tmp_path):
    """The untuned model's, from its vectors and a sort, pair by pair."""
    table = pd.read_parquet(room / "pairs.parquet")
    _, held = hold_out(table, VALIDATION, seed=7)
    embedder = Embedder.load(str(room / "model"), device="cpu", max_text_tokens=GRID["max_text_tokens"])
    texts, positives = (embedder.encode(held[side].tolist(), TEMPLATE, "last") for side in ("text", "positive"))
    ranks = []
    for place, text in enumerate(texts):
        cosines = [text @ other / np.linalg.norm(text) / np.linalg.norm(other) for other in positives]
        ranks.append(sorted(cosines, reverse=True).index(cosines[place]) + 1)
    expected = {
        "recall@1": np.mean([rank == 1 for rank in ranks]),
        "recall@10": np.mean([rank <= 10 for rank in ranks]),
        "ndcg@10": np.mean([1 / np.log2(rank + 1) if rank <= 10 else 0 for rank in ranks]),
    }
    found = judge(room, tmp_path, ["tuned"])
    assert found["n"] == len(held)
    for measure, value in expected.items():
        assert numbers(found, measure)[1] == pytest.approx(value, abs=1e-6)


def test_an_equal_model_is_no_different(room, tmp_path):
    found = judge(room, tmp_path, ["equal"])
    assert found["verdict"] == "no clear difference"
    assert numbers(found)[0] == numbers(found)[1]


def test_a_damaged_model_is_worse_and_comes_with_advice(room, tmp_path):
    found = judge(room, tmp_path, ["damaged"])
    tuned, untuned = numbers(found)
    assert found["verdict"] == "worse" and tuned < untuned - 0.1
    assert found["measures"]["recall@1"]["differences"]["untuned"]["high"] < 0
    assert any("adapters.tuned.learning_rate" in line for line in found["advice"])
    assert any("export the untuned model" in line for line in found["advice"])


def test_vectors_are_kept_for_the_next_verdict(room, tmp_path):
    judge(room, tmp_path, ["tuned"])
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert [path.parts[-3] for path in files] == ["base", "tuned"]
    before = [path.stat().st_mtime_ns for path in files]
    judge(room, tmp_path, ["tuned"])
    assert [path.stat().st_mtime_ns for path in files] == before
    assert [fault_of(path) for path in tmp_path.rglob("*.parquet")] == [None] * 3  # each has its sidecar


def test_an_adapter_of_an_inner_layer_is_judged_there(room, tmp_path):
    """The untuned model too. Its vectors are those of that layer."""
    found = judge(room, tmp_path, ["tuned"], layer=1)
    assert found["layer"] == 1 and numbers(found) != numbers(judge(room, tmp_path / "last", ["tuned"]))
    for name, adapter in (("base", None), ("tuned", f"{room}/tuned/step-{LAST}")):
        texts = pd.read_parquet(tmp_path / f"verdict/{name}/texts.parquet")["text"].tolist()
        (file,) = (tmp_path / f"verdict/{name}").rglob("*.safetensors")
        engine = Embedder.load(str(room / "model"), adapter, device="cpu", max_text_tokens=32)
        wanted = engine.encode(texts[:5], TEMPLATE, "last", 1)
        np.testing.assert_allclose(read_vectors(str(file))["cluster", "last", 1][:5], wanted, rtol=1e-4, atol=1e-5)


def test_without_held_out_pairs_it_says_what_to_set(room, tmp_path):
    found = judge(room, tmp_path, [])
    assert found["verdict"] == "not known" and not list(tmp_path.rglob("*.safetensors"))
    assert "set adapters.tuned.validation to 0.1" in (tmp_path / "verdict.txt").read_text(encoding="utf-8")


def test_pairs_that_repeat_their_text_give_no_verdict(room, tmp_path):
    table = pd.read_parquet(room / "pairs.parquet")
    table.assign(positive=table["text"].str.upper()).to_parquet(tmp_path / "same.parquet")
    sets = {"dropout": (str(tmp_path / "same.parquet"), {"styles": ["identity"], "model": None, "corpus": "lines"})}
    found = judge(room, tmp_path, ["tuned"], sets=sets)
    assert found["verdict"] == "not known" and "take other styles" in found["line"]


# --- numbers alone -----------------------------------------------------------------------------------


def searches(shares: dict[str, float], n: int, seeds: int = 1, draw: int = 0) -> dict:
    """Each search finds a share of n pairs first; which ones, is chance."""
    rng = np.random.default_rng(draw)
    made = {}
    for name, share in shares.items():
        made[name] = {}
        for seed in range(seeds):
            hit = (rng.random(n) < share).astype(float)
            made[name][seed] = {"recall@1": hit}
    return made


ALIKE = {"tuned": 0.5, "untuned": 0.5, "TF-IDF": 0.5, "BM25": 0.5}


@pytest.mark.parametrize(("n", "share"), [(25, 0.1), (200, 0.5)])
def test_alike_models_are_rarely_called_different(n, share):
    """Of 100 studies at most 10: a 95 % interval, with more than two binomial standard errors of leeway."""
    alike = dict.fromkeys(ALIKE, share)
    wrong = [verdict_of(compare_searches(searches(alike, n, draw=draw)), n) != "no clear difference"
             for draw in range(100)]  # fmt: skip
    assert sum(wrong) <= 10


def test_a_real_difference_is_found():
    better = compare_searches(searches({**ALIKE, "tuned": 0.75}, 400))
    assert verdict_of(better, 400) == "better" and verdict_of(better, 12) == "no clear difference"
    assert verdict_of(compare_searches(searches({**ALIKE, "tuned": 0.25}, 400)), 400) == "worse"


def test_intervals_hold_for_the_three_comparisons_at_once():
    """So each is wider than alone."""
    made = searches({**ALIKE, "tuned": 0.6}, 400)
    alone = compare_searches({name: made[name] for name in ("tuned", "untuned")})
    width = {name: one["recall@1"]["differences"]["untuned"] for name, one in
             (("alone", alone), ("together", compare_searches(made)))}  # fmt: skip
    spread = {name: one["high"] - one["low"] for name, one in width.items()}
    assert 1.05 < spread["together"] / spread["alone"] < 1.4


def test_seeds_that_disagree_widen_the_interval():
    def study(first: float, second: float) -> dict:
        one, other = (searches({**ALIKE, "tuned": share}, 400, draw=place) for place, share in
                      enumerate((first, second)))  # fmt: skip
        made = {name: {42: one[name][0], 7: other[name][0]} for name in one}
        return compare_searches(made)["recall@1"]["differences"]["untuned"]

    alike, apart = study(0.7, 0.7), study(0.9, 0.5)
    assert alike["value"] == pytest.approx(apart["value"], abs=0.05)
    assert apart["high"] - apart["low"] > 3 * (alike["high"] - alike["low"])


def test_a_share_of_nothing_or_all_has_an_interval():
    compared = compare_searches(searches({**ALIKE, "untuned": 0.0, "BM25": 1.0}, 30))["recall@1"]["scores"]
    for name, side in (("untuned", "high"), ("BM25", "low")):
        low, high = wilson(30 * (name == "BM25"), 30)
        assert compared[name][side] == pytest.approx(high if side == "high" else low)


def test_models_that_find_the_same_are_said_to():
    made = searches(ALIKE, 60)
    compared = compare_searches({**made, "untuned": made["tuned"]})
    assert verdict_of(compared, 60) == "no clear difference"
    (line,) = advice_of("no clear difference", compared, {**ABOUT, "pairs": 60})
    assert line.startswith("Both find exactly the same")


ABOUT = {"adapter": "mine", "step": 40, "pairs": 400, "trained_on": 300, "passes": 12.0, "best_step": 10,
         "learning_rate": 3e-4}  # fmt: skip


def test_the_line_holds_the_numbers():
    compared = compare_searches(searches({"tuned": 0.75, "untuned": 0.5, "TF-IDF": 0.4, "BM25": 0.45}, 400))
    line = headline_of("better", compared, 400)
    scores = compared["recall@1"]["scores"]
    assert f"first in {100 * scores['tuned']['value']:.1f} % of 400 pairs" in line
    assert re.search(r"untuned in [\d.]+ %: \+[\d.]+ \[[\d.]+, [\d.]+\]; TF-IDF [\d.]+ %, BM25 [\d.]+ %\.$", line)
    assert advice_of("better", compared, ABOUT) == []


def test_advice_names_the_likeliest_cause_first():
    compared = compare_searches(searches({**ALIKE, "tuned": 0.2}, 400))
    first, second, *rest = advice_of("worse", compared, ABOUT)
    assert "Step 10 was better than step 40" in first and "adapters.mine.steps" in first
    assert "300 pairs 12 times" in second
    assert any("0.0001" in line for line in rest) and any("TF-IDF and BM25" in line for line in rest)
    few = advice_of("no clear difference", compared, {**ABOUT, "pairs": 12})
    assert few == ["12 held-out pairs are too few to say more: raise adapters.mine.validation, or make more pairs."]
