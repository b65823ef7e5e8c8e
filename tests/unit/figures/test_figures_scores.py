"""Figures of tuning, layers, cost, benchmarks and the map: intervals drawn, and what is missing drawn as missing."""

import numpy as np
import pandas as pd
import pytest
from promptpool.analysis.score_means import variant_means
from promptpool.errors import PromptpoolError
from promptpool.figures import scores as figures
from promptpool.figures.benchmark import benchmark
from promptpool.figures.layers import cost_scores, frontier, layer_curves
from promptpool.figures.map import text_map
from promptpool.figures.map_labels import LABEL_COLOURS, OTHERS
from promptpool.figures.sizes import best_of_each_size, size_scores, vector_bytes
from promptpool.figures.style import spread
from promptpool.figures.tuned import best_steps, tuned
from sample_tables import (
    TASKS,
    sample_ablation,
    sample_costs,
    sample_facts,
    sample_layers,
    sample_map,
    sample_scores,
    sample_short,
    sample_steps,
)

LINES = [{"label": "one model", "value": 41.9, "source": "a"}, {"label": "another", "value": 42.0, "source": "b"}]
DRAWINGS = {
    "tuned": lambda out: tuned(sample_steps(), out),
    "layer_curves": lambda out: layer_curves(sample_layers(), sample_facts(), sample_costs(), out),
    "size_scores": lambda out: size_scores(sample_short(), sample_facts(), sample_costs(), out),
    "cost_scores": lambda out: cost_scores(sample_layers(), sample_facts(), sample_costs(), out),
    "benchmark": lambda out: benchmark(
        sample_scores(), sample_facts(), list(TASKS), out, title="MTEB(own)", lines=LINES
    ),
    "text_map": lambda out: text_map(sample_map(), out, title="topics"),
}


def texts(figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def words(figure) -> str:
    """Everything that a figure says."""
    own = [figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel(), *texts(figure)]
    for axis in figure.axes:
        own += [axis.get_xlabel(), axis.get_ylabel(), axis.get_title(loc="left")]
    return " ".join(own)


def missing(figure) -> list:
    return [thing for axis in figure.axes for thing in axis.get_children() if thing.get_gid() == "missing"]


@pytest.mark.parametrize("kind", DRAWINGS)
def test_the_same_tables_draw_the_same_two_files(kind, tmp_path):
    for name in ("one", "two"):
        DRAWINGS[kind](tmp_path / name / "v1.2")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["v1.2.png", "v1.2.svg"]
    for suffix in (".svg", ".png"):
        one, two = (tmp_path / name / f"v1.2{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", DRAWINGS)
def test_no_text_lies_on_another_or_outside(kind, tmp_path, drawn):
    DRAWINGS[kind](tmp_path / "f")
    figure = drawn[0]
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    for axis in figure.axes:
        for labels in (axis.get_yticklabels(), axis.texts, axis.get_xticklabels()):
            boxes = [one.get_window_extent(renderer) for one in labels if one.get_visible() and one.get_text()]
            turned = any(one.get_rotation() for one in labels)  # their boxes overlap, their letters do not
            assert turned or not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    labels = [label for axis in figure.axes for label in (axis.title, axis.xaxis.label, axis.yaxis.label)]
    parts = [*figure.texts, *labels, *(text for axis in figure.axes for text in axis.texts)]
    for part in parts:
        box = part.get_window_extent(renderer)
        inside = box.x0 >= -2 and box.x1 <= width + 2 and box.y0 >= -2 and box.y1 <= height + 2
        assert inside or not part.get_text(), part


def test_a_long_name_of_a_baseline_pushes_no_label_out(tmp_path, drawn):
    scores = sample_layers().replace({"model": {"tfidf-svd": "all-MiniLM-L6-v2"}})
    cost_scores(scores, sample_facts(), sample_costs(), tmp_path / "f")
    figure = drawn[0]
    box = figure.axes[0].xaxis.label.get_window_extent(figure.canvas.get_renderer())
    assert "all-MiniLM-L6-v2" in words(figure) and box.x0 >= 0 and box.x1 <= figure.canvas.get_width_height()[0]


@pytest.mark.parametrize("kind", ["tuned", "layer_curves", "cost_scores", "benchmark"])
def test_axes_say_the_measure_and_over_how_many_tasks(kind, tmp_path, drawn):
    DRAWINGS[kind](tmp_path / "f")
    said = words(drawn[0]) + " ".join(t.get_text() for a in drawn[0].axes for t in a.get_yticklabels())
    assert "V-measure × 100" in said and "3 tasks" in said


def test_other_measures_are_called_what_they_are(tmp_path, drawn):
    tuned(sample_steps(), tmp_path / "t", "main score (accuracy)")
    figures.heat_map(sample_scores(), tmp_path / "h", sample_facts(), "main score (accuracy)")
    figures.ablation(sample_steps(), tmp_path / "a", "main score (accuracy)")
    assert all("main score (accuracy) × 100" in words(figure) for figure in drawn)
    assert all("V-measure" not in words(figure) for figure in drawn)


def test_a_task_that_was_not_scored_has_no_dot(tmp_path, drawn):
    table = sample_steps()
    lost = (table["value"] == best_steps(table)[0]) & (table["task"] == "StdlibTopics")
    tuned(table[~lost], tmp_path / "t")
    tuned(table, tmp_path / "whole")
    first, whole = (figure.axes[0] for figure in drawn)
    assert [text.get_text() for text in first.texts] == ["not scored"] and not whole.texts
    assert len(missing(drawn[0])) == 1
    dots = [
        len([line for line in axis.lines if line.get_marker() in "oD" and len(line.get_xdata())])
        for axis in (first, whole)
    ]
    assert dots[0] == dots[1] - 2  # neither untuned nor tuned
    assert all(x > 10 for line in first.lines for x in np.atleast_1d(line.get_xdata()) if line.get_marker() in "oD")


def test_tuned_shows_each_adapters_best_step_and_every_interval(tmp_path, drawn):
    table = sample_steps()
    assert best_steps(table) == ["halves@80", "synthetic@80"]
    tuned(table, tmp_path / "t")
    assert [axis.get_title(loc="left") for axis in drawn[0].axes] == ["halves@80", "synthetic@80"]
    assert [len(axis.collections) for axis in drawn[0].axes] == [4, 4]  # three tasks and their mean
    with pytest.raises(PromptpoolError, match="vary the adapter"):
        tuned(sample_ablation("prompts", "none", {"none": 0.0, "eol": 0.03}), tmp_path / "p")


def test_a_layer_that_lacks_a_task_is_a_gap_and_a_cross(tmp_path, drawn):
    scores = sample_layers()
    hole = (scores["layer"] == 2) & (scores["pooling"] == "eos") & (scores["task"] == "StdlibTopics")
    layer_curves(scores[~hole], sample_facts(), sample_costs(), tmp_path / "l")
    axis = drawn[0].axes[0]
    eos = next(c for c in axis.containers if c.get_label() == "eos")
    heights = eos.lines[0].get_ydata()
    assert np.isnan(heights[1]) and np.isfinite(heights[[0, 2, 3]]).all() and not (heights == 0).any()
    assert [list(line.get_xdata()) for line in missing(drawn[0])] == [[2]] * len(missing(drawn[0]))
    assert all(container.has_yerr for container in axis.containers)


def test_layers_stand_at_their_place_in_the_model(tmp_path, drawn):
    layer_curves(sample_layers(), sample_facts(), sample_costs(), tmp_path / "l")
    assert [int(tick) for tick in drawn[0].axes[0].get_xticks()] == [0, 2, 4, 5]  # -1 is the fifth
    with pytest.raises(PromptpoolError, match=r"grid\.layers"):
        layer_curves(sample_scores(), sample_facts(), sample_costs(), tmp_path / "one")


def test_a_variant_without_a_cost_or_a_score_is_counted_and_not_drawn(tmp_path, drawn):
    scores = sample_scores()
    hole = (scores["prompt"] == "eol") & (scores["task"] == "StdlibTopics")
    cost_scores(scores[~hole], sample_facts(), sample_costs(), tmp_path / "c")
    assert f"{7 * 5} variants without a score or a cost" in words(drawn[0])
    heights = np.concatenate([np.atleast_1d(line.get_ydata()) for line in drawn[0].axes[0].lines])
    assert (heights > 5).all()
    assert {"random", "tfidf-svd"} <= set(texts(drawn[0]))


def test_the_frontier_holds_what_nothing_cheaper_beats():
    rows = pd.DataFrame({"flops": [1, 2, 3, 3, 4], "mean": [0.3, 0.2, 0.4, 0.5, 0.5]})
    assert frontier(rows).index.tolist() == [0, 3]


def test_a_checkpoint_that_lacks_a_task_of_the_benchmark_is_missing(tmp_path, drawn):
    scores = sample_scores()
    hole = (scores["adapter"] == "halves") & (scores["step"] == 40) & (scores["task"] == "StdlibTopics")
    benchmark(scores[~hole], sample_facts(), list(TASKS), tmp_path / "b", title="own")
    axis = drawn[0].axes[0]
    assert [text.get_text() for text in missing(drawn[0])] == ["lacks 1 of 3 tasks"]
    place = [label.get_text() for label in axis.get_xticklabels()].index("halves@40")
    assert not any(place in np.atleast_1d(line.get_xdata()) for line in axis.lines if line.get_marker() in ("o", "_"))
    assert len([c for c in axis.collections]) >= 6  # the other checkpoints' intervals


def test_published_averages_are_dashed_lines_with_names_and_no_marks(tmp_path, drawn):
    figures.score_by_step(sample_scores(), sample_steps(), tmp_path / "s", sample_facts(), lines=LINES)
    benchmark(sample_scores(), sample_facts(), list(TASKS), tmp_path / "b", title="own", lines=LINES)
    for figure in drawn:
        assert {"one model 41.9", "another 42.0"} <= set(texts(figure))
        assert "published by others" in figure.get_suptitle()
        level = [line for line in figure.axes[0].lines if set(np.atleast_1d(line.get_ydata())) == {41.9}]
        assert [(line.get_linestyle(), line.get_marker()) for line in level] == [("--", "None")]


def test_heat_map_prints_half_of_each_interval(tmp_path, drawn):
    scores, facts = sample_scores(), sample_facts()
    figures.heat_map(scores, tmp_path / "h", facts)
    means = variant_means(scores, facts)
    own = means[(means["adapter"] == "base") & (means["prompt"] == "cluster") & (means["pooling"] == "attention")].iloc[
        0
    ]
    expected = f"{own['mean'] * 100:.1f}\n±{(own['high'] - own['low']) * 50:.1f}"
    assert drawn[0].axes[0].texts[0].get_text() == expected


def test_baselines_show_their_intervals(tmp_path, drawn):
    figures.score_by_step(sample_scores(), sample_steps(), tmp_path / "s", sample_facts())
    assert len(drawn[0].axes[0].patches) == 2  # a band each


def test_a_mean_needs_every_task():
    scores = sample_scores()
    less = scores[~((scores["model"] == "random") & (scores["task"] == "StdlibTopics"))]
    table = variant_means(less, sample_facts()).set_index("model")
    assert np.isnan(table.loc["random", "mean"]) and table.loc["random", "missing"] == "StdlibTopics"
    other = variant_means(less, sample_facts(), ["DocstringSummaries"]).set_index("model")
    assert other.loc["random", "missing"] == "" and other.loc["random", "low"] < other.loc["random", "mean"]


def test_eight_labels_are_coloured_and_the_rest_is_grey_and_counted(tmp_path, drawn):
    table = sample_map(texts=200, labels=12)
    text_map(table, tmp_path / "m")
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    labels = table["label"].nunique()
    assert len(names) == 9 and names[-1] == f"{labels - 8} other label{'s' * (labels > 9)}"
    colours = {line.get_color() for line in drawn[0].axes[0].lines}
    assert colours == {*LABEL_COLOURS, OTHERS}
    drawn_texts = sum(len(line.get_xdata()) for line in drawn[0].axes[1].lines)
    assert drawn_texts == 200  # every text, none twice


def test_the_map_tells_how_many_neighbours_share_the_label(tmp_path, drawn):
    table = sample_map()
    text_map(table, tmp_path / "m")
    share = table.loc[table["adapter"] == "base", "same"].mean() * 100
    assert f"untuned\n{share:.0f} ± " in drawn[0].axes[0].get_title(loc="left")


def test_names_at_a_line_are_moved_apart_and_stay_inside():
    assert spread([1.0, 5.0, 9.0], 2.0, 0.0, 10.0) == [1.0, 5.0, 9.0]
    near = spread([4.9, 5.0, 5.1, 9.9], 1.0, 0.0, 10.0)
    assert near == pytest.approx([4.0, 5.0, 6.0, 9.9])
    low = spread([0.0, 0.1, 9.95, 10.0], 1.0, 0.0, 10.0)
    assert low == pytest.approx([0.0, 1.0, 9.0, 10.0])


def test_post_processed_poolings_are_no_lines_over_layers(tmp_path):
    scores = sample_layers()
    own = scores[scores["adapter"] != "baseline"]
    more = pd.concat([scores, own.assign(pooling=own["pooling"] + "+center")], ignore_index=True)
    layer_curves(more, sample_facts(), sample_costs(), tmp_path / "more")
    layer_curves(scores, sample_facts(), sample_costs(), tmp_path / "plain")
    assert (tmp_path / "more.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_sizes_are_bytes_of_a_vector(tmp_path):
    sizes = {"last": 1024, "concat": 2048, "mean:text+cut(64)": 256, "concat+int8": 512, "last+binary": 32}
    assert {name: vector_bytes(256, name) for name in sizes} == sizes
    rows = pd.DataFrame({"bytes": [64, 256, 64, 256], "mean": [0.1, 0.2, 0.3, 0.1]})
    assert best_of_each_size(rows)["mean"].tolist() == [0.3, 0.2]
    with pytest.raises(PromptpoolError, match="size_scores: no variant has a score on every task"):
        size_scores(sample_short(), sample_facts(), sample_costs().assign(model="other"), tmp_path / "none")
