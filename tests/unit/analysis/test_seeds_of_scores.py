"""Several seeds of one adapter in scores.parquet, ablations, the headline and its words."""

import numpy as np
import pandas as pd
import pytest
from promptpool.analysis.compare_ablation import ablation_table
from promptpool.analysis.gather_scores import gather_scores
from promptpool.analysis.score_means import variant_means
from promptpool.analysis.score_table import by_task
from promptpool.analysis.seeds import first_seed_only, with_seeds
from promptpool.analysis.summarise_scores import as_text, headline
from promptpool.artifacts.files import write_table
from promptpool.artifacts.parts import write_manifest
from promptpool.statistics.samples import MAIN, REPLICATE_COLUMN, RESAMPLED, VARIANT

TRAININGS = {"base": 0.30, "tuned": 0.50, "tuned~7": 0.44, "once": 0.41}
FIRST = {"tuned": 42, "once": 42}
FACTS = {task: {"main_score": "v_measure", "experiments": "bootstrap"} for task in ("one", "two")}
PROMPTS = {"none": "{text}"}
EXPORTS = {"out": {"model": "small", "adapter": "tuned@4", "prompt": "none", "pooling": "mean"}}
STEPS = {"vary": "adapter", "baseline": "base",
         "fixed": {"model": "small", "prompt": "none", "pooling": "mean", "layer": -1}}  # fmt: skip


@pytest.fixture(scope="module")
def parts() -> pd.DataFrame:
    """What jobs write: a seed other than the first is part of the adapter's name. Floors have their rows too."""
    rng, rows = np.random.default_rng(0), []
    shared = {task: (rng.normal(0, 0.02, 10), rng.normal(0, 0.02, 50)) for task in FACTS}

    def add(variant: tuple, level: float) -> None:
        for task, (runs, documents) in shared.items():
            start = (*variant, task, "test", "default")
            rows.extend((*start, "L", i, MAIN, level + run, None) for i, run in enumerate(runs))
            rows.append((*start, "all", 0, RESAMPLED, level, level + documents + rng.normal(0, 0.001, 50)))

    for adapter, level in TRAININGS.items():
        add(("small", adapter, 0 if adapter == "base" else 4, "none", "mean", -1), level)
    add(("random", "baseline", 0, "none", "none", 0), 0.02)
    columns = [*VARIANT, "task", "split", "subset", "level", "experiment", "metric", "value", REPLICATE_COLUMN]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def scores(parts) -> pd.DataFrame:
    return with_seeds(parts, FIRST)


def test_single_seeds_stay_in_the_scores_in_a_column(scores):
    assert scores.columns[:4].tolist() == ["model", "adapter", "step", "seed"]
    known = scores.groupby("adapter")["seed"].agg(lambda seeds: sorted(seeds.dropna().unique()))
    assert known.to_dict() == {"base": [], "baseline": [], "once": [42], "tuned": [7, 42]}
    assert len(first_seed_only(scores, FIRST)) == len(scores) * 4 / 5
    assert first_seed_only(scores, FIRST)["seed"].dropna().unique().tolist() == [42]


def test_the_column_is_written_and_read_again(parts, tmp_path):
    write_table(tmp_path / "one/family.parquet", parts)
    write_manifest(tmp_path / "all.json", [str(tmp_path / "one/family.parquet")], computed=[])
    out = str(tmp_path / "scores.parquet")
    gather_scores([str(tmp_path / "all.json")], out, ["model", "adapter", "step", "seed", "task"], FIRST)
    read = pd.read_parquet(out)
    assert str(read["seed"].dtype) == "Int64" and read["seed"].isna().any()
    assert variant_means(read, FACTS).equals(variant_means(with_seeds(parts, FIRST), FACTS))


def test_a_variant_is_the_mean_over_its_seeds(scores):
    mean = by_task(scores).set_index("adapter")["mean"]
    means = variant_means(scores, FACTS).set_index("adapter")
    assert means.loc["tuned", "mean"] == pytest.approx(mean["tuned"])
    assert mean["tuned"] - mean["base"] == pytest.approx(0.17)
    wide = means["high"] - means["low"]
    assert wide["tuned"] > 2 * wide["once"]


def test_an_ablations_interval_holds_the_seeds(parts, scores):
    table = ablation_table(scores, FACTS, "steps", {**STEPS, "seeds": FIRST})
    means = table[table["task"] == "mean"].set_index("value")
    assert means["seeds"].to_dict() == {"base": 1, "once@4": 1, "tuned@4": 2}
    assert means.loc["tuned@4", "estimate"] == pytest.approx(0.17)
    assert means.loc["tuned@4", "low"] < 0 < means.loc["once@4", "low"]  # two seeds, six points apart
    first = first_seed_only(scores, FIRST)
    alone = ablation_table(first, FACTS, "steps", STEPS).query("task == 'mean'").set_index("value")
    assert alone.loc["tuned@4", "low"] > 0.1


def test_the_headline_says_what_is_a_mean_and_an_export_is_one_training(scores):
    rows = headline(scores, FACTS, EXPORTS, PROMPTS, FIRST)
    found = rows[rows["task"] == "mean"].set_index("row")
    assert (found.loc["best tuned", "seeds"], found.loc["export out", "seeds"]) == (2, 1)
    base = found.loc["best untuned", "score"]
    assert found.loc["best tuned", "score"] - base == pytest.approx(0.17)
    assert found.loc["export out", "score"] - base == pytest.approx(0.20)
    assert found.loc["best tuned", "label"] == "small, tuned@4, prompt none, mean, mean of 2 seeds"
    text = as_text(rows, "tiny")
    assert "means over 2 seeds of training" in text and "the first seed's training alone" in text


def test_without_several_seeds_the_text_says_that_they_are_taken_as_given(scores):
    rows = headline(scores[scores["adapter"] != "tuned"], FACTS, {}, PROMPTS, FIRST)
    assert "each adapter was trained once" in as_text(rows, "tiny")
    untuned = headline(scores[scores["adapter"].isin(["base", "baseline"])], FACTS, {}, PROMPTS, FIRST)
    assert "seed" not in as_text(untuned, "tiny")
