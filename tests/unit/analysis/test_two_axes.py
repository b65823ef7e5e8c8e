"""Ablations over two axes: the table, its Markdown, its figure, its section in the report, and its config."""

import numpy as np
import pandas as pd
import pytest
from promptpool.analysis.ablation_grid import AXES, ablation_grid, as_markdown
from promptpool.analysis.compare_ablation import ablation_table
from promptpool.analysis.summarise_scores import as_text
from promptpool.config.resolve import resolve
from promptpool.figures.scores import ablation
from promptpool.report.scores import ablation_section
from promptpool.statistics.samples import MAIN, REPLICATE_COLUMN, RESAMPLED, VARIANT
from promptpool.study.study import Study
from sample_config import ROOT, demo, told
from sample_tables import sample_summary

FACTS = {task: {"main_score": "v_measure", "experiments": "bootstrap"} for task in ("one", "two")}
LEVELS = {
    ("base", 0, "none", "mean"): 0.30, ("base", 0, "none", "last"): 0.20, ("base", 0, "eol", "mean"): 0.35,
    ("base", 0, "eol", "last"): 0.41, ("tuned", 10, "none", "mean"): 0.5, ("tuned", 9, "eol", "mean"): 0.55,
}  # fmt: skip
SPEC = {"vary": ["prompt", "pooling"], "baseline": {"prompt": "none", "pooling": "mean"}, "values": None,
        "fixed": {"model": "small", "adapter": "base", "layer": -1}}  # fmt: skip
CHECKPOINTS = {"vary": ["adapter", "prompt"], "baseline": {"adapter": "base", "prompt": "none"},
               "fixed": {"model": "small", "pooling": "mean", "layer": -1}}  # fmt: skip
ABLATION = {"vary": ["prompt", "pooling"], "baseline": {"prompt": "none", "pooling": "mean"},
            "fixed": {"model": "nano-docs", "adapter": "base", "layer": -1}}  # fmt: skip


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    shared = {task: (rng.normal(0, 0.05, 10), rng.normal(0, 0.05, 50)) for task in FACTS}
    for (adapter, step, prompt, pooling), level in LEVELS.items():
        for task, (runs, documents) in shared.items():
            start = ("small", adapter, step, prompt, pooling, -1, task, "test", "default")
            rows += [(*start, "L", i, MAIN, level + run, None) for i, run in enumerate(runs)]
            rows.append((*start, "all", 0, RESAMPLED, level, level + documents + rng.normal(0, 0.002, 50)))
    columns = [*VARIANT, "task", "split", "subset", "level", "experiment", "metric", "value", REPLICATE_COLUMN]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def table(scores) -> pd.DataFrame:
    return ablation_table(scores, FACTS, "both", SPEC)


def test_every_cell_is_a_paired_difference_to_the_one_baseline(table, scores):
    means = table[table["task"] == "mean"].set_index(["row", "column"])
    assert means["estimate"].to_dict() == pytest.approx(
        {("none", "mean"): 0, ("none", "last"): -0.1, ("eol", "mean"): 0.05, ("eol", "last"): 0.11}, abs=1e-9
    )
    one_axis = {**SPEC, "vary": "prompt", "baseline": "none", "fixed": {**SPEC["fixed"], "pooling": "mean"}}
    alone = ablation_table(scores, FACTS, "one", one_axis).query("task == 'mean'").set_index("value")
    same = ["estimate", "low", "high", "p", "score", "detectable"]
    assert means.loc[("eol", "mean"), same].tolist() == pytest.approx(alone.loc["eol", same].tolist())
    assert means["p_holm"].notna().sum() == 3 and set(table["axes"]) == {"prompt, pooling"}
    assert means.loc[("eol", "last"), ["value", "rank"]].tolist() == ["eol, last", 1]
    assert not set(AXES) & set(ablation_table(scores, FACTS, "one", one_axis))


def test_a_grid_starts_with_the_baseline_and_shows_what_was_not_scored(scores):
    found = ablation_grid(ablation_table(scores, FACTS, "steps", CHECKPOINTS))
    assert (found.rows, found.columns) == (["base", "tuned@9", "tuned@10"], ["none", "eol"])
    assert found.baseline == (0, 0) and found.axes == ("adapter", "prompt")
    assert [[cell is not None for cell in cells] for cells in found.cells] == [[1, 1], [0, 1], [1, 0]]


def test_only_the_chosen_values_of_an_axis_are_compared(scores):
    found = ablation_table(scores, FACTS, "both", {**SPEC, "values": {"prompt": ["none"]}})
    assert list(dict.fromkeys(found["value"])) == ["none, mean", "none, last"]


def test_the_text_has_it_as_markdown(table):
    lines = as_markdown(table)
    assert lines[2] == "| prompt \\ pooling | mean | last |"
    assert " baseline | " in lines[4] and " -10.0 [" in lines[4]
    cells = [cell.strip() for cell in lines[5].split("|")[1:-1]]
    means = table[table["task"] == "mean"].set_index("value")
    row = means.loc["eol, last"]
    bounds = f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    assert cells[0] == "eol" and cells[2] == f"{100 * row['score']:.1f} +11.0 {bounds}"
    assert lines[4] in as_text(sample_summary(), "tiny", tables=[table])


def test_the_report_has_it_as_a_table(table):
    section = ablation_section("both", table, "", [])
    assert section["grid"]["head"] == ["prompt \\ pooling", "mean", "last"]
    assert [name for name, _ in section["grid"]["rows"]] == ["none", "eol"]
    assert section["grid"]["rows"][0][1][0][1] == "baseline"


def test_the_figure_is_a_table_of_cells(table, scores, tmp_path, drawn):
    ablation(table, tmp_path / "f")
    (axis,) = drawn[0].axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["mean", "last"]
    assert any("+11.0 [" in text.get_text() for text in axis.texts)
    assert not [one for one in axis.get_children() if one.get_gid() == "missing"]
    ablation(ablation_table(scores, FACTS, "steps", CHECKPOINTS), tmp_path / "g")
    assert len([one for one in drawn[1].axes[0].get_children() if one.get_gid() == "missing"]) == 2


def test_a_study_scores_every_cell_and_no_more(monkeypatch):
    monkeypatch.chdir(ROOT)
    steps = {"vary": ["adapter", "prompt"], "baseline": {"adapter": "base", "prompt": "none"},
             "values": {"adapter": ["halves@20"]},
             "fixed": {"model": "nano-docs", "pooling": "last", "layer": -1}}  # fmt: skip
    study = Study(resolve(demo(ablations={"both": ABLATION, "steps": steps})))
    assert study.two_axes() == ["both", "steps"]
    assert study.ablation_jobs("both") == ["nano-docs/base/all"]
    assert study.ablation_jobs("steps") == ["nano-docs/base/all", "nano-docs/halves@20/all"]
    models = {"vary": ["model", "adapter"], "baseline": {"model": "nano-docs", "adapter": "base"},
              "fixed": {"prompt": "none", "pooling": "last", "layer": -1}}  # fmt: skip
    found = Study(resolve(demo(ablations={"models": models})))
    assert len(found.ablation_jobs("models")) == 7


def test_models_are_an_axis_of_their_own(monkeypatch):
    """`vary: model`: each model untuned, whatever adapters the grid has."""
    monkeypatch.chdir(ROOT)
    spec = {"vary": "model", "baseline": "nano-docs",
            "fixed": {"adapter": "base", "prompt": "none", "pooling": "last", "layer": -1}}  # fmt: skip
    other = {"path": "workflow/resources/nano-docs"}
    study = Study(resolve(demo(models__other=other, grid__models=["nano-docs", "other"], ablations={"models": spec})))
    assert study.ablation_jobs("models") == ["nano-docs/base/all", "other/base/all"]
    assert study.ablation_spec("models")["vary"] == "model" and study.two_axes() == []
    line = told(demo(ablations={"models": {**spec, "fixed": {**spec["fixed"], "adapter": "halves@20"}}}))
    assert line == (
        "config.yaml: ablations.models.fixed.adapter: adapter 'halves@20' is not in the grid; use one of base, or add "
        "it to grid"
    )
    line = told(demo(ablations={"models": {**spec, "baseline": "absent"}}))
    assert line.startswith("config.yaml: ablations.models.baseline: model 'absent' is not in the grid; use one of nano")


FAULTS = {
    "an unknown axis": ({"vary": ["prompt", "poling"]}, "vary: unknown vary 'poling'; use one of model, adapter"),
    "one unknown thing": ({"vary": "poling"}, "vary: unknown vary 'poling'; use one of model, adapter"),
    "three axes": ({"vary": ["prompt", "pooling", "layer"]}, "vary: ['prompt', 'pooling', 'layer'] is not one thing"),
    "the same twice": ({"vary": ["prompt", "prompt"]}, "vary: ['prompt', 'prompt'] is not one thing"),
    "a list of one": ({"vary": ["prompt"]}, "vary: a list names two things; write prompt without brackets"),
    "one baseline": ({"baseline": "none"}, "baseline: prompt and pooling vary, and 'none' is no value of each"),
    "half a baseline": ({"baseline": {"prompt": "none"}}, "baseline: prompt and pooling vary, and {'prompt': 'none'}"),
    "a baseline outside the grid": (
        {"baseline": {"prompt": "none", "pooling": "max"}}, "baseline: pooling 'max' is not in the grid; use one of"),
    "a list of values": ({"values": ["eol"]}, "values: prompt and pooling vary, and ['eol'] does not list values of"),
    "values outside the grid": ({"values": {"prompt": ["x"]}}, "values: prompt 'x' is not in the grid; use one of"),
    "a fixed axis": ({"fixed": {**ABLATION["fixed"], "prompt": "none"}}, "fixed.prompt: the ablation varies prompt"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "line"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_table_is_answered_in_one_line(monkeypatch, change, line):
    monkeypatch.chdir(ROOT)
    assert told(demo(ablations={"both": {**ABLATION, **change}})).startswith(f"config.yaml: ablations.both.{line}")


def test_one_axis_takes_no_mapping(monkeypatch):
    monkeypatch.chdir(ROOT)
    one = {**ABLATION, "vary": "prompt", "baseline": "none", "fixed": {**ABLATION["fixed"], "pooling": "last"}}
    for key, value, word in (
        ("baseline", {"prompt": "none"}, "write its value alone"),
        ("values", {"prompt": ["eol"]}, "write a list of its values"),
    ):
        line = told(demo(ablations={"one": {**one, key: value}}))
        assert line == f"config.yaml: ablations.one.{key}: only prompt varies; {word}"


def test_a_baseline_adapter_must_tune_the_baseline_model(monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = {"vary": ["model", "adapter"], "baseline": {"model": "other", "adapter": "halves@20"},
            "fixed": {"prompt": "none", "pooling": "last", "layer": -1}}  # fmt: skip
    other = {"path": "workflow/resources/nano-docs"}
    line = told(demo(models__other=other, grid__models=["nano-docs", "other"], ablations={"models": spec}))
    assert "adapter 'halves@20' tunes model 'nano-docs', not 'other'" in line
