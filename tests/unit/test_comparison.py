"""Ablations and the headline, on scores small enough to check by hand."""

import numpy as np
import pandas as pd
import pytest
from promptpool.comparison import ablation_table, as_text, headline, label, write_ablation, write_headline
from promptpool.errors import PromptpoolError
from promptpool.mteb_tasks import SCORE_COLUMNS
from promptpool.statistics import paired

TASKS = ("one", "two")
VARIANTS = {
    ("small", "base", 0, "none", "mean", -1): 0.30,
    ("small", "base", 0, "cluster", "mean", -1): 0.35,
    ("small", "base", 0, "eol", "mean", -1): 0.32,
    ("small", "base", 0, "none", "last", -1): 0.10,
    ("small", "base", 0, "none", "mean", 4): 0.25,
    ("small", "tuned", 10, "cluster", "mean", -1): 0.45,
    ("small", "tuned", 200, "cluster", "mean", -1): 0.50,
    ("random", "baseline", 0, "none", "none", 0): 0.02,
    ("tfidf-svd", "baseline", 0, "none", "none", 0): 0.40,
}
PROMPTS = {"none": "{text}", "cluster": "{text} belongs to:", "eol": "{text} means"}
ABLATION = {"vary": "prompt", "baseline": "none",
            "fixed": {"model": "small", "adapter": "base", "pooling": "mean", "layer": -1}}  # fmt: skip
EXPORTS = {"out": {"model": "small", "adapter": "tuned@200", "prompt": "cluster", "pooling": "mean"}}


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Ten experiments a task. A noise that all variants share makes only paired differences sharp."""
    rng = np.random.default_rng(0)
    shared = {task: rng.normal(0, 0.1, 10) for task in TASKS}
    rows = []
    for variant, level in VARIANTS.items():
        for number, task in enumerate(TASKS):
            own = rng.normal(0, 0.001, 10)
            for experiment in range(10):
                value = level + 0.1 * number + shared[task][experiment] + own[experiment]
                rows.append((*variant, task, "test", "default", "Level 0", experiment, "v_measure", value))
            rows.append((*variant, task, "test", "default", "all", 0, "main_score", 9.9))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def values(scores: pd.DataFrame, variant: tuple) -> dict[str, list[float]]:
    chosen = scores[(scores[SCORE_COLUMNS[:6]].apply(tuple, axis=1) == variant) & (scores["metric"] == "v_measure")]
    return {task: chosen.loc[chosen["task"] == task].sort_values("experiment")["value"].tolist() for task in TASKS}


def shuffled(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sample(frac=1, random_state=7).reset_index(drop=True)


def test_the_estimate_is_the_paired_difference_to_the_baseline(scores):
    table = ablation_table(scores, "prompts", ABLATION).set_index(["value", "task"])
    wanted = paired(
        values(scores, ("small", "base", 0, "cluster", "mean", -1)),
        values(scores, ("small", "base", 0, "none", "mean", -1)),
    )
    row = table.loc[("cluster", "mean")]
    assert [row[key] for key in ("estimate", "low", "high", "p")] == pytest.approx(list(vars(wanted).values())[:4])
    assert row["estimate"] == pytest.approx(0.05, abs=0.002)
    assert row["high"] - row["low"] < 0.01  # the shared noise of 0.1 is gone


def test_a_score_is_the_mean_over_experiments(scores):
    table = ablation_table(scores, "prompts", ABLATION).set_index(["value", "task"])
    own = values(scores, ("small", "base", 0, "eol", "mean", -1))
    assert table.loc[("eol", "two"), "score"] == pytest.approx(np.mean(own["two"]))
    assert table.loc[("eol", "mean"), "score"] == pytest.approx(np.mean([np.mean(v) for v in own.values()]))


def test_experiments_are_paired_whatever_the_order_of_the_rows(scores):
    pd.testing.assert_frame_equal(
        ablation_table(shuffled(scores), "prompts", ABLATION), ablation_table(scores, "prompts", ABLATION)
    )
    pd.testing.assert_frame_equal(headline(shuffled(scores), EXPORTS, PROMPTS), headline(scores, EXPORTS, PROMPTS))


def test_only_what_is_fixed_is_compared(scores):
    table = ablation_table(scores, "prompts", ABLATION)
    assert table["value"].unique().tolist() == ["none", "cluster", "eol"]
    assert len(table) == 3 * (1 + len(TASKS))


def test_the_baseline_stands_first_and_differs_from_itself_by_nothing(scores):
    first = ablation_table(scores, "prompts", ABLATION).iloc[0]
    assert (first["value"], first["task"], first["estimate"], first["p"]) == ("none", "mean", 0, 1)


def test_holm_counts_the_mean_rows_without_the_baseline(scores):
    table = ablation_table(scores, "prompts", ABLATION)
    counted = table[table["p_holm"].notna()]
    assert counted[["value", "task"]].values.tolist() == [["cluster", "mean"], ["eol", "mean"]]
    assert counted["p_holm"].max() == pytest.approx(max(counted["p"].max(), 2 * counted["p"].min()))


def test_a_missing_baseline_is_named(scores):
    with pytest.raises(PromptpoolError, match=r"ablations\.prompts: no score for prompt 'absent'; add it to the grid"):
        ablation_table(scores, "prompts", {**ABLATION, "baseline": "absent"})


def test_checkpoints_are_compared_in_the_order_of_their_steps(scores):
    spec = {"vary": "adapter", "baseline": "base",
            "fixed": {"model": "small", "prompt": "cluster", "pooling": "mean", "layer": -1}}  # fmt: skip
    table = ablation_table(scores, "steps", spec)
    assert table["value"].unique().tolist() == ["base", "tuned@10", "tuned@200"]
    gains = table[table["task"] == "mean"].set_index("value")["estimate"]
    assert gains["tuned@200"] == pytest.approx(0.15, abs=0.002)


def test_layers_are_compared_by_number(scores):
    spec = {"vary": "layer", "baseline": -1,
            "fixed": {"model": "small", "adapter": "base", "prompt": "none", "pooling": "mean"}}  # fmt: skip
    table = ablation_table(scores, "layers", spec)
    assert table["value"].unique().tolist() == ["-1", "4"]


def test_an_adapter_may_be_fixed_to_a_checkpoint(scores):
    spec = {"vary": "prompt", "baseline": "cluster",
            "fixed": {"model": "small", "adapter": "tuned@10", "pooling": "mean", "layer": -1}}  # fmt: skip
    table = ablation_table(scores, "prompts", spec)
    assert table["score"].iloc[0] == pytest.approx(np.mean(list(values(
        scores, ("small", "tuned", 10, "cluster", "mean", -1)).values())))  # fmt: skip


@pytest.fixture(scope="module")
def rows(scores) -> pd.DataFrame:
    return headline(scores, EXPORTS, PROMPTS)


def test_the_headline_has_the_floors_first(rows):
    assert rows["row"].tolist()[:2] == ["random", "tfidf-svd"]


def test_the_best_variants_are_the_best(rows):
    found = rows.set_index(["row", "task"])
    assert found.loc[("best untuned", "mean"), "prompt"] == "cluster"
    assert found.loc[("best tuned", "mean"), "step"] == 200


def test_gains_are_paired(rows, scores):
    found = rows.set_index(["row", "task"])
    gain = found.loc[("best tuned - best untuned", "mean")]
    assert gain["score"] == pytest.approx(0.15, abs=0.002)
    assert gain["high"] - gain["low"] < 0.01
    floor = found.loc[("best tuned - tfidf-svd", "two")]
    assert floor["score"] == pytest.approx(0.10, abs=0.002)


def test_an_export_is_compared_with_the_untuned_model_without_a_prompt(rows):
    found = rows[rows["task"] == "mean"].set_index("row")
    assert found.loc["export out", "kind"] == "score"
    gain = found.loc["export out - untuned, no prompt, mean"]
    assert (gain["kind"], gain["score"]) == ("difference", pytest.approx(0.20, abs=0.002))


def test_an_export_outside_the_grid_has_no_row(scores):
    elsewhere = {"out": {**EXPORTS["out"], "pooling": "max"}}
    assert not headline(scores, elsewhere, PROMPTS)["row"].str.startswith("export").any()


def test_a_run_without_an_adapter_has_no_tuned_row(scores):
    rows = headline(scores[scores["adapter"] != "tuned"], {}, PROMPTS)
    assert rows["row"].tolist() == ["random", "tfidf-svd", "best untuned"]


def test_the_text_prints_every_row_of_the_mean_and_no_task(rows):
    text = as_text(rows, "tiny")
    shown = rows[rows["task"] == "mean"]
    for row in shown.itertuples():
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {row.row}  "))
        sign = "+" if row.kind == "difference" else ""
        value, low, high = (f"{100 * number:{sign}.1f}" for number in (row.score, row.low, row.high))
        assert f" {value} [{low}, {high}]" in line
    assert text.count("best tuned - tfidf-svd") == 1
    assert "results/tiny/report.html" in text


def test_labels_read_as_a_person_would_say_them():
    assert label(("small", "base", 0, "none", "mean", -1)) == "small, untuned, prompt none, mean"
    assert label(("small", "tuned", 80, "eol", "last", 3)) == "small, tuned@80, prompt eol, last, layer 3"
    assert label(("random", "baseline", 0, "none", "none", 0)) == "random"


def test_both_tables_are_written_with_their_provenance(scores, tmp_path):
    scores.to_parquet(tmp_path / "scores.parquet")
    write_ablation(str(tmp_path / "scores.parquet"), str(tmp_path / "a.parquet"), "prompts", ABLATION)
    write_headline(
        str(tmp_path / "scores.parquet"), str(tmp_path / "h.parquet"), str(tmp_path / "h.txt"), run="tiny",
        exports=EXPORTS, prompts=PROMPTS,
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "a.parquet"), ablation_table(scores, "prompts", ABLATION), check_dtype=False
    )
    assert (tmp_path / "h.txt").read_text().rstrip() == as_text(pd.read_parquet(tmp_path / "h.parquet"), "tiny")
    assert (tmp_path / "h.parquet.meta.json").exists()
