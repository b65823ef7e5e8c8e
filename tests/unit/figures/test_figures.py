"""Figures: whole files, the same each time, and nothing missing drawn as a number."""

import numpy as np
import pandas as pd
import pytest
from promptpool.analysis.score_table import by_task
from promptpool.errors import PromptpoolError
from promptpool.figures import scores as figures
from promptpool.figures.attention import attention_bars, attention_layers, attention_spans
from promptpool.figures.pairs import pairs_qc
from promptpool.figures.training import training_curves
from sample_tables import (
    sample_ablation,
    sample_attention_summary,
    sample_qc,
    sample_scores,
    sample_set,
    sample_shown,
    sample_steps,
    sample_training,
)

DRAWINGS = {
    "heat_map": lambda out: figures.heat_map(sample_scores(), out),
    "ablation": lambda out: figures.ablation(sample_steps(), out),
    "score_by_step": lambda out: figures.score_by_step(sample_scores(), sample_steps(), out),
    "training_curves": lambda out: training_curves(sample_training(), out),
    "attention_bars": lambda out: attention_bars(sample_shown(), out),
    "attention_spans": lambda out: attention_spans(sample_attention_summary(), out),
    "attention_layers": lambda out: attention_layers(sample_attention_summary(), out),
    "pairs_qc": lambda out: pairs_qc(sample_qc(), out),
}


def texts(figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


@pytest.mark.parametrize("kind", DRAWINGS)
def test_a_figure_is_an_svg_and_a_png_and_nothing_else(kind, tmp_path):
    DRAWINGS[kind](tmp_path / "new" / "v1.2")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["v1.2.png", "v1.2.svg"]
    assert (tmp_path / "new" / "v1.2.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "new" / "v1.2.svg").read_text()
    assert "<svg" in svg and svg.count("<path") > 10


@pytest.mark.parametrize("kind", DRAWINGS)
def test_the_same_tables_draw_the_same_bytes(kind, tmp_path):
    for name in ("one", "two"):
        DRAWINGS[kind](tmp_path / name)
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


@pytest.mark.parametrize("whole", [True, False], ids=["variant", "task"])
def test_a_missing_cell_is_hatched_and_never_a_number(whole, tmp_path, drawn):
    scores = sample_scores()
    hole = (scores["adapter"] == "halves") & (scores["step"] == 40)
    hole &= (scores["prompt"] == "eol") & (scores["pooling"] == "eos")
    if not whole:
        hole &= scores["task"] == "StdlibTopics"
    figures.heat_map(scores[~hole], tmp_path / "map")
    axes = {axis.get_title(loc="left"): axis for axis in drawn[0].axes}
    cells = {title: (len(axis.texts), [patch.get_hatch() for patch in axis.patches]) for title, axis in axes.items()}
    assert cells["halves@40"] == (14, ["////"])
    assert cells["base"] == (15, [])
    assert np.isnan(axes["halves@40"].images[0].get_array().astype(float).filled(np.nan)).sum() == 1


def test_heat_map_prints_the_mean_over_tasks_and_counts_them(tmp_path, drawn):
    scores = sample_scores()
    figures.heat_map(scores, tmp_path / "map")
    panel = drawn[0].axes[0]
    assert panel.get_title(loc="left") == "base"
    where = (scores["adapter"] == "base") & (scores["prompt"] == "cluster") & (scores["pooling"] == "attention")
    mean = scores[where & (scores["metric"] == "v_measure")].groupby("task")["value"].mean().mean()
    shown, margin = panel.texts[0].get_text().split("\n")
    assert shown == f"{mean * 100:.1f}" and 0 < float(margin.removeprefix("±")) < 3
    assert "3 tasks" in drawn[0].get_suptitle()


def test_heat_map_of_baselines_alone_is_refused(tmp_path):
    scores = sample_scores()
    with pytest.raises(PromptpoolError, match="no variant"):
        figures.heat_map(scores[scores["adapter"] == "baseline"], tmp_path / "map")


def test_means_over_different_tasks_are_not_compared():
    scores = sample_scores()
    less = scores[~((scores["model"] == "random") & (scores["task"] == "StdlibTopics"))]
    table = by_task(less).set_index("model")
    assert pd.isna(table.loc["random", "mean"]) and table.loc["tfidf-svd", "mean"] > 0


def test_ablation_shows_each_values_score_and_not_the_baseline(tmp_path, drawn):
    figures.ablation(sample_ablation("prompts", "none", {"none": 0.0, "eol": 0.03, "cluster": 0.06}), tmp_path / "a")
    axis = drawn[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["eol", "cluster"]
    assert texts(drawn[0]) == ["28.0", "2–1–0", "31.0", "2–1–0"]  # its score; tasks won, tied, lost


def test_ablation_over_many_tasks_stays_readable(tmp_path, drawn):
    few = sample_ablation("prompts", "none", {"none": 0.0, "eol": 0.03})
    many = pd.concat([few, *(few[few["task"] != "mean"].assign(task=f"task {i}") for i in range(20))])
    figures.ablation(many, tmp_path / "a")
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names == ["mean over tasks", "23 single tasks"]


def test_score_by_step_draws_both_floors_and_starts_at_base(tmp_path, drawn):
    figures.score_by_step(sample_scores(), sample_steps(), tmp_path / "s")
    axis = drawn[0].axes[0]
    assert set(texts(drawn[0])) == {"random floor", "TF-IDF + SVD"}
    points = [tuple(line.get_xydata()[0]) for line in axis.lines if line.get_label() == "base"]
    assert points == [(0, pytest.approx(25.0))]


def test_score_by_step_without_a_step_says_what_to_vary(tmp_path):
    table = sample_ablation("prompts", "none", {"none": 0.0, "eol": 0.03})
    with pytest.raises(PromptpoolError, match="vary the adapter"):
        figures.score_by_step(sample_scores(), table, tmp_path / "s")


def test_pair_figures_do_without_what_was_not_recorded(tmp_path, drawn):
    counted = {"accepted": 3, "rejected": {"echo": 1}, "words": {"text": {"3": 5, "12": 1}}}
    pairs_qc({"bare": {}, "old": counted, "empty": {"styles": {"none": {"asked": 0, "accepted": 0}}}}, tmp_path / "q")
    kept, lengths, similar, distinct = ([text.get_text() for text in axis.texts] for axis in drawn[0].axes[:4])
    assert kept == ["no counts", "75% of 4", "0% of 0"]
    assert lengths == ["lengths not recorded"] * 2 and similar == distinct == ["not recorded"] * 3
    pairs_qc({}, tmp_path / "none")


@pytest.mark.parametrize("styles", [1, 9])
def test_pair_figure_has_a_row_a_style_and_no_text_over_another(styles, tmp_path, drawn):
    pairs_qc({"all": sample_set(styles)}, tmp_path / "q")
    figure = drawn[0]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == list(sample_set(styles)["styles"])
    renderer = figure.canvas.get_renderer()
    for axis in figure.axes:
        for labels in (axis.get_xticklabels(), axis.get_yticklabels(), axis.texts):
            boxes = [label.get_window_extent(renderer) for label in labels if label.get_visible() and label.get_text()]
            if axis is figure.axes[-1] and labels == axis.get_xticklabels() and styles > 4:
                continue  # turned names: their boxes overlap, their letters do not
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    labels = [axis.xaxis.label.get_window_extent(renderer) for axis in figure.axes[:4] if axis.get_xlabel()]
    assert not any(a.overlaps(b) for i, a in enumerate(labels) for b in labels[i + 1 :])


def test_pair_figure_counts_reasons_by_style_and_names_sets_where_styles_repeat(tmp_path, drawn):
    part = {"asked": 10, "accepted": 7, "rejected": {"echo": 2, "near-duplicate": 1}}
    other = {"asked": 10, "accepted": 9, "rejected": {"near-duplicate": 4}}
    pairs_qc({"one": {"styles": {"detail": part}}, "two": {"styles": {"detail": other}}}, tmp_path / "q")
    table = drawn[0].axes[-1]
    assert [label.get_text() for label in table.get_xticklabels()] == ["one: detail", "two: detail"]
    assert [label.get_text() for label in table.get_yticklabels()] == ["near-duplicate", "echo"]
    assert [text.get_text() for text in table.texts] == ["1", "4", "2", "·"]


def test_pair_figure_shows_a_backends_reasons(tmp_path, drawn):
    part = {"asked": 10, "accepted": 3, "rejected": {"too-long": 1, "filtered": 2, "thinking": 3, "cut": 1}}
    pairs_qc({"one": {"styles": {"detail": part}}}, tmp_path / "q")
    names = [label.get_text() for label in drawn[0].axes[-1].get_yticklabels()]
    assert names == ["thinking", "filtered", "cut", "too-long"]


def test_pair_histograms_keep_the_share_of_every_bin(tmp_path, drawn):
    words = {"text": {"1": 1, "2": 3}, "positive": {"100": 2}}
    part = {"asked": 4, "accepted": 4, "words": words, "similarity": {"0.00": 1, "0.95": 3}}
    pairs_qc({"one": {"styles": {"detail": part}}}, tmp_path / "q")
    lengths, similar = drawn[0].axes[1:3]
    assert "100 or more" in lengths.get_xlabel()
    heights = [-patch.get_data().values for patch in lengths.patches[::2]]
    assert [round(float(height.sum()), 3) for height in heights] == [0.85, 0.85]  # each side's all, in one bin
    low, high = -similar.patches[0].get_data().values[[0, 19]]
    assert high == pytest.approx(3 * low)


def test_a_failed_drawing_leaves_no_file(tmp_path):
    with pytest.raises(PromptpoolError):
        attention_bars(sample_shown().query("text_id > 0"), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
