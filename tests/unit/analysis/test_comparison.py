"""Ablations and the headline, on scores small enough to check by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from promptpool.analysis.average_benchmarks import average_benchmarks, benchmark_averages
from promptpool.analysis.compare_ablation import ablation_table, compare_ablation
from promptpool.analysis.score_means import variant_means
from promptpool.analysis.score_table import by_task, measures, variant_label
from promptpool.analysis.summarise_scores import as_text, headline, summarise_scores
from promptpool.artifacts.files import write_table
from promptpool.artifacts.parts import write_manifest
from promptpool.errors import PromptpoolError
from promptpool.statistics.estimates import HELD, paired
from promptpool.statistics.samples import MAIN, REPLICATE_COLUMN, RESAMPLED, VARIANT, read_facts, samples_by_variant
from scipy import stats

SCORE_COLUMNS = [*VARIANT, "task", "split", "subset", "level", "experiment", "metric", "value",
                 REPLICATE_COLUMN]  # fmt: skip

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
    ("tfidf-svd", "baseline", 0, "none", "svd-16", 0): 0.38,
    ("tfidf-svd", "baseline", 0, "none", "svd-64", 0): 0.40,
    ("large", "base", 0, "none", "mean", -1): 0.31,
}
FACTS = {task: {"main_score": "v_measure", "experiments": "bootstrap", "draws": 100, "documents": {"test/default": 100}}
         for task in TASKS}  # fmt: skip
PROMPTS = {"none": "{text}", "cluster": "{text} belongs to:", "eol": "{text} means"}
ABLATION = {"vary": "prompt", "baseline": "none",
            "fixed": {"model": "small", "adapter": "base", "pooling": "mean", "layer": -1}}  # fmt: skip
EXPORTS = {"out": {"model": "small", "adapter": "tuned@200", "prompt": "cluster", "pooling": "mean"}}


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Ten experiments a task. A noise that all variants share makes only paired differences sharp."""
    rng = np.random.default_rng(0)
    shared = {task: rng.normal(0, 0.1, 10) for task in TASKS}
    documents = {task: rng.normal(0, 0.1, 50) for task in TASKS}
    rows = []
    for variant, level in VARIANTS.items():
        for number, task in enumerate(TASKS):
            own = rng.normal(0, 0.001, 10)
            for experiment in range(10):
                value = level + 0.1 * number + shared[task][experiment] + own[experiment]
                rows.append((*variant, task, "test", "default", "Level 0", experiment, "main_score", value, None))
                rows.append((*variant, task, "test", "default", "Level 0", experiment, "ami", 9.9, None))
            replicates = level + documents[task] + rng.normal(0, 0.001, 50)
            rows.append((*variant, task, "test", "default", "all", 0, RESAMPLED, level, replicates))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def sample(scores: pd.DataFrame, variant: tuple):
    return samples_by_variant(scores, FACTS)[variant]


def shuffled(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sample(frac=1, random_state=7).reset_index(drop=True)


def test_the_estimate_is_the_paired_difference_to_the_baseline(scores):
    table = ablation_table(scores, FACTS, "prompts", ABLATION).set_index(["value", "task"])
    wanted = paired(
        sample(scores, ("small", "base", 0, "cluster", "mean", -1)),
        sample(scores, ("small", "base", 0, "none", "mean", -1)),
    )
    row = table.loc[("cluster", "mean")]
    assert [row[key] for key in ("estimate", "low", "high", "p")] == pytest.approx(list(vars(wanted).values())[:4])
    assert row["estimate"] == pytest.approx(0.05, abs=0.002)
    assert row["high"] - row["low"] < 0.01  # the shared noise of 0.1 is gone


def test_a_score_is_the_mean_over_experiments(scores):
    table = ablation_table(scores, FACTS, "prompts", ABLATION).set_index(["value", "task"])
    rows = scores[(scores["prompt"] == "eol") & (scores["metric"] == "main_score")]
    means = rows.groupby("task")["value"].mean()
    assert table.loc[("eol", "two"), "score"] == pytest.approx(means["two"])
    assert table.loc[("eol", "mean"), "score"] == pytest.approx(means.mean())


def test_experiments_are_paired_whatever_the_order_of_the_rows(scores):
    pd.testing.assert_frame_equal(
        ablation_table(shuffled(scores), FACTS, "prompts", ABLATION), ablation_table(scores, FACTS, "prompts", ABLATION)
    )
    pd.testing.assert_frame_equal(
        headline(shuffled(scores), FACTS, EXPORTS, PROMPTS), headline(scores, FACTS, EXPORTS, PROMPTS)
    )


def test_only_what_is_fixed_is_compared(scores):
    table = ablation_table(scores, FACTS, "prompts", ABLATION)
    assert table["value"].unique().tolist() == ["none", "cluster", "eol"]
    assert len(table) == 3 * (1 + len(TASKS))


def test_the_baseline_stands_first_and_differs_from_itself_by_nothing(scores):
    first = ablation_table(scores, FACTS, "prompts", ABLATION).iloc[0]
    assert (first["value"], first["task"], first["estimate"], first["p"]) == ("none", "mean", 0, 1)


def test_holm_counts_the_mean_rows_without_the_baseline(scores):
    table = ablation_table(scores, FACTS, "prompts", ABLATION)
    counted = table[table["p_holm"].notna()]
    assert counted[["value", "task"]].values.tolist() == [["cluster", "mean"], ["eol", "mean"]]
    assert counted["p_holm"].max() == pytest.approx(max(counted["p"].max(), 2 * counted["p"].min()))


def test_a_missing_baseline_is_named(scores):
    with pytest.raises(PromptpoolError, match=r"ablations\.prompts: no score for prompt 'absent'; add it to the grid"):
        ablation_table(scores, FACTS, "prompts", {**ABLATION, "baseline": "absent"})


def test_checkpoints_are_compared_in_the_order_of_their_steps(scores):
    spec = {"vary": "adapter", "baseline": "base",
            "fixed": {"model": "small", "prompt": "cluster", "pooling": "mean", "layer": -1}}  # fmt: skip
    table = ablation_table(scores, FACTS, "steps", spec)
    assert table["value"].unique().tolist() == ["base", "tuned@10", "tuned@200"]
    gains = table[table["task"] == "mean"].set_index("value")["estimate"]
    assert gains["tuned@200"] == pytest.approx(0.15, abs=0.002)


def test_models_are_compared_like_anything_else(scores):
    spec = {"vary": "model", "baseline": "small",
            "fixed": {"adapter": "base", "prompt": "none", "pooling": "mean", "layer": -1}}  # fmt: skip
    table = ablation_table(scores, FACTS, "models", spec)
    gains = table[table["task"] == "mean"].set_index("value")["estimate"]
    assert gains.to_dict() == pytest.approx({"small": 0, "large": 0.01}, abs=0.002)


def test_layers_are_compared_by_number(scores):
    spec = {"vary": "layer", "baseline": -1,
            "fixed": {"model": "small", "adapter": "base", "prompt": "none", "pooling": "mean"}}  # fmt: skip
    table = ablation_table(scores, FACTS, "layers", spec)
    assert table["value"].unique().tolist() == ["-1", "4"]


def test_an_adapter_may_be_fixed_to_a_checkpoint(scores):
    spec = {"vary": "prompt", "baseline": "cluster",
            "fixed": {"model": "small", "adapter": "tuned@10", "pooling": "mean", "layer": -1}}  # fmt: skip
    table = ablation_table(scores, FACTS, "prompts", spec)
    own = sample(scores, ("small", "tuned", 10, "cluster", "mean", -1))
    assert table["score"].iloc[0] == pytest.approx(np.mean([one.estimate for one in own.values()]))


def test_only_the_chosen_values_are_compared(scores):
    table = ablation_table(scores, FACTS, "prompts", {**ABLATION, "values": ["eol"]})
    assert table["value"].unique().tolist() == ["none", "eol"]
    assert table["p_holm"].dropna().tolist() == table.loc[table["p_holm"].notna(), "p"].tolist()


def test_tasks_are_counted_and_ranked(scores):
    table = ablation_table(scores, FACTS, "prompts", ABLATION)
    means = table[table["task"] == "mean"].set_index("value")
    assert means.loc["cluster", ["wins", "ties", "losses"]].tolist() == [2, 0, 0]
    assert means.loc["none", ["wins", "ties", "losses"]].tolist() == [0, 2, 0]
    assert means["rank"].to_dict() == {"none": 3, "cluster": 1, "eol": 2}
    assert means.loc["cluster", ["rank_low", "rank_high", "best", "p_best"]].tolist() == [1, 1, 2, 1]
    assert table.loc[table["task"] != "mean", "rank"].isna().all()


def test_values_with_other_tasks_are_not_compared(scores):
    fewer = scores[(scores["prompt"] != "eol") | (scores["task"] != "two")]
    with pytest.raises(
        PromptpoolError, match=r"ablations\.prompts: prompt 'eol' and the baseline differ in task 'two'"
    ):
        ablation_table(fewer, FACTS, "prompts", ABLATION)


@pytest.mark.parametrize("kind", ["bootstrap", "sets"])
def test_an_intervals_width_follows_from_documents_and_experiments(scores, kind):
    table = scores if kind == "bootstrap" else scores[scores["metric"] != RESAMPLED]
    facts = {task: {**fact, "experiments": kind} for task, fact in FACTS.items()}
    row = ablation_table(table, facts, "prompts", ABLATION).set_index(["value", "task"]).loc[("cluster", "one")]
    part = table[(table["task"] == "one") & (table["layer"] == -1) & (table["adapter"] == "base")]
    part = part[(part["pooling"] == "mean") & (part["model"] == "small")].set_index("prompt")
    runs, replicates = (part[part["metric"] == metric] for metric in (MAIN, RESAMPLED))
    squares = [np.var(runs.loc["cluster", "value"].values - runs.loc["none", "value"].values, ddof=1) / 10]
    if kind == "bootstrap":
        one, other = (replicates.loc[prompt, REPLICATE_COLUMN] for prompt in ("cluster", "none"))
        squares.append(HELD * np.var(one - other, ddof=1))
    freedom = 9 * sum(squares) ** 2 / sum(square**2 for square in squares)
    assert row["high"] - row["estimate"] == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(sum(squares)))


def test_experiments_alone_say_nothing_of_other_texts_and_give_no_interval(scores):
    table = ablation_table(scores[scores["metric"] != RESAMPLED], FACTS, "prompts", ABLATION)
    assert table.loc[table["value"] == "cluster", "estimate"].notna().all()
    assert table[["low", "high", "p", "p_holm", "rank_low"]].isna().all().all()


@pytest.fixture(scope="module")
def rows(scores) -> pd.DataFrame:
    return headline(scores, FACTS, EXPORTS, PROMPTS)


def test_the_headline_has_the_floors_first(rows):
    assert rows["row"].tolist()[:2] == ["random", "tfidf-svd"]


def test_a_floor_of_some_tasks_says_so_and_is_compared_on_these(rows, scores):
    """As BM25 is, in a study that also has tasks without a search."""
    task = sorted(scores["task"].unique())[0]
    few = scores[(scores["model"] != "random") | (scores["task"] == task)]
    found = headline(few, FACTS, EXPORTS, PROMPTS).set_index(["row", "task"])
    name, before = "random (1 of 2 tasks)", rows.set_index(["row", "task"])
    assert found.loc[(name, "mean"), "score"] == pytest.approx(
        scores.query("model == 'random' and task == @task and metric == 'main_score'")["value"].mean(), abs=0.05
    )
    gain, own = found.loc[(f"best tuned - {name}", "mean")], before.loc[("best tuned - random", task)]
    assert (gain["score"], gain["low"]) == pytest.approx((own["score"], own["low"]))
    assert (
        found.loc[("best tuned - tfidf-svd", "mean"), "score"]
        == before.loc[("best tuned - tfidf-svd", "mean"), "score"]
    )


def test_a_floor_is_the_best_of_its_dimensions(rows, scores):
    floor = rows[(rows["row"] == "tfidf-svd") & (rows["task"] == "mean")].iloc[0]
    assert (floor["pooling"], floor["label"], floor["of"]) == ("svd-64", "tfidf-svd, svd-64", 2)
    means = variant_means(scores, FACTS)
    assert means[means["model"] == "tfidf-svd"]["pooling"].tolist() == ["svd-64"]


def test_the_best_of_many_has_an_interval_for_all_of_them(rows, scores):
    found = rows[rows["task"] == "mean"].set_index("row")
    assert found["of"].to_dict() == {
        "random": 1, "tfidf-svd": 2, "best untuned": 6, "best tuned": 2, "best tuned - best untuned": 12,
        "best tuned - random": 2, "best tuned - tfidf-svd": 4, "export out": 1,
        "export out - untuned, no prompt, mean": 1,
    }  # fmt: skip
    one, other = (sample(scores, ("small", *rest)) for rest in (("tuned", 200, "cluster", "mean", -1),
                                                                ("base", 0, "cluster", "mean", -1)))  # fmt: skip
    plain, gain = paired(one, other), found.loc["best tuned - best untuned"]
    assert gain["high"] - gain["low"] > 1.05 * (plain.high - plain.low)
    assert gain["score"] == pytest.approx(plain.estimate)


def test_the_text_says_how_to_read_the_best_and_what_could_have_been_seen(rows):
    text = as_text(rows, "tiny")
    assert "picked among many" in text and "not over other tasks" in text
    export = rows[rows["row"].str.startswith("export out -")].iloc[0]
    assert f"A true difference of {100 * export['detectable']:.1f} points" in text


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
    assert not headline(scores, FACTS, elsewhere, PROMPTS)["row"].str.startswith("export").any()


def test_a_run_without_an_adapter_has_no_tuned_row(scores):
    rows = headline(scores[scores["adapter"] != "tuned"], FACTS, {}, PROMPTS)
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
    assert variant_label(("small", "base", 0, "none", "mean", -1)) == "small, untuned, prompt none, mean"
    assert variant_label(("small", "tuned", 80, "eol", "last", 3)) == "small, tuned@80, prompt eol, last, layer 3"
    assert variant_label(("random", "baseline", 0, "none", "none", 0)) == "random"


def test_a_row_without_an_interval_says_so(scores):
    rows = headline(scores[scores["metric"] != RESAMPLED], FACTS, EXPORTS, PROMPTS)
    text = as_text(rows, "tiny", measures({"a": {"main_score": "v_measure"}, "b": {"main_score": "accuracy"}}))
    assert "nan" not in text and "[not known]" in text
    assert text.startswith("main score (accuracy, v_measure) x 100")


def test_a_benchmarks_average_is_refused_while_a_task_is_missing(scores, tmp_path, capsys):
    types = {"one": "Clustering", "two": "STS"}
    benchmarks = {"whole": types, "more": {**types, "three": "STS"}}
    found = benchmark_averages(scores, benchmarks).set_index("benchmark")
    assert found.loc["whole", "mean_task"].notna().all() and (found.loc["whole", "missing"] == "").all()
    assert found.loc["more", ["mean_task", "mean_type"]].isna().all().all()
    assert set(found.loc["more", "missing"]) == {"three"} and set(found["tasks"]) == {2, 3}
    scores.to_parquet(tmp_path / "scores.parquet")
    average_benchmarks(str(tmp_path / "scores.parquet"), str(tmp_path / "b.parquet"), benchmarks)
    assert capsys.readouterr().out == f"more: no average for {len(VARIANTS)} variants, which lack three\n"
    assert len(pd.read_parquet(tmp_path / "b.parquet")) == 2 * len(VARIANTS)


def test_a_benchmarks_averages_weigh_tasks_or_types(scores):
    types = {"one": "Clustering", "two": "Clustering", "three": "STS"}
    third = scores[scores["task"] == "one"].assign(task="three", value=0.9)
    found = benchmark_averages(pd.concat([scores, third]), {"all": types})
    own = by_task(scores)
    np.testing.assert_allclose(found["mean_task"], (own["one"] + own["two"] + 0.9) / 3)
    np.testing.assert_allclose(found["mean_type"], ((own["one"] + own["two"]) / 2 + 0.9) / 2)


def test_a_tasks_score_weighs_its_subsets_the_same(scores):
    extra = scores[(scores["task"] == "one") & (scores["experiment"] < 2)].assign(subset="other", value=0.9)
    found, before = by_task(pd.concat([scores, extra])), by_task(scores)
    np.testing.assert_allclose(found["one"], (before["one"] + 0.9) / 2)


def test_all_tables_are_written_with_their_provenance(scores, tmp_path):
    parts = [str(tmp_path / f"{task}/family.parquet") for task in TASKS]
    for task, part in zip(TASKS, parts, strict=True):
        write_table(part, scores[scores["task"] == task])
    write_manifest(tmp_path / "all.json", parts, computed=parts)
    scores.to_parquet(tmp_path / "scores.parquet")
    facts = []
    for task in TASKS:
        facts.append(str(tmp_path / task / "facts.json"))
        (tmp_path / task / "facts.json").write_text(json.dumps(FACTS[task]))
    assert read_facts(facts) == FACTS
    spec = {**ABLATION, "tasks": list(TASKS)}
    compare_ablation([tmp_path / "all.json"], facts, str(tmp_path / "a.parquet"), "prompts", spec)
    summarise_scores(
        str(tmp_path / "scores.parquet"), facts, str(tmp_path / "h.parquet"), str(tmp_path / "h.txt"), run="tiny",
        exports=EXPORTS, prompts=PROMPTS,
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "a.parquet"), ablation_table(scores, FACTS, "prompts", ABLATION), check_dtype=False
    )
    assert (tmp_path / "h.txt").read_text().rstrip() == as_text(pd.read_parquet(tmp_path / "h.parquet"), "tiny")
    assert (tmp_path / "h.parquet.meta.json").exists() and (tmp_path / "a.parquet.meta.json").exists()
