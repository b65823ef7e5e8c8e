"""Figures of attention: what is drawn is what was measured, and nothing is drawn that was not."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from promptpool.errors import PromptpoolError
from promptpool.figures.attention import attention_bars, attention_layers, attention_spans
from promptpool.figures.palette import SPAN_COLOURS
from sample_tables import CHECKPOINTS, TOKENS, sample_attention_summary, sample_shown


def titles(figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


def test_bars_leave_out_the_sink_but_tell_its_share(tmp_path, drawn):
    shown = sample_shown()
    attention_bars(shown, tmp_path / "a")
    axis = drawn[0].axes[0]
    sentence = shown[(shown["text_id"] == 0) & (shown["adapter"] == "base") & (shown["layer"] == 3)].iloc[0]
    np.testing.assert_allclose([bar.get_height() for bar in axis.patches], sentence["weights"][1:] * 100, rtol=1e-5)
    assert f"{sentence['weights'][0]:.0%}" in axis.get_title(loc="left")
    assert "layer 3" in drawn[0].get_supxlabel() and "prompt cluster" in drawn[0].get_supxlabel()


def test_bars_are_of_base_and_each_adapters_first_and_last_step(tmp_path, drawn):
    attention_bars(sample_shown(), tmp_path / "a")
    assert [title.split()[0] for title in titles(drawn[0])] == [
        "base", "halves@20", "halves@80", "synthetic@20", "synthetic@80"
    ]  # fmt: skip


def test_bars_are_of_the_first_prompt_alone(tmp_path, drawn):
    attention_bars(sample_shown(prompts=("eol", "cluster"), checkpoints=[("base", 0)]), tmp_path / "a")
    assert len(titles(drawn[0])) == 1 and "prompt eol" in drawn[0].get_supxlabel()


def test_bars_have_their_spans_colours(tmp_path, drawn):
    attention_bars(sample_shown(), tmp_path / "a")
    colours = [bar.get_facecolor() for bar in drawn[0].axes[0].patches]
    place = TOKENS.split("|").index(" shortest") - 1
    assert colours[place] == plt.matplotlib.colors.to_rgba(SPAN_COLOURS["content"])
    assert colours[-1] == plt.matplotlib.colors.to_rgba(SPAN_COLOURS["itself"])


def test_odd_tokens_and_names_are_drawn_as_they_are(tmp_path):
    shown = sample_shown()
    odd = {" path": "$x_1$", " two": "\n", " nodes": "<b>&"}
    shown["tokens"] = [[odd.get(token, token) for token in tokens] for tokens in shown["tokens"]]
    attention_bars(shown.replace({"adapter": {"halves": "a$b$"}}), tmp_path / "a")
    assert (tmp_path / "a.svg").exists()


def test_a_table_without_the_sentence_is_refused(tmp_path):
    with pytest.raises(PromptpoolError, match="lacks the sentence"):
        attention_bars(sample_shown().query("text_id > 0"), tmp_path / "a")


def test_stacked_spans_add_up_and_carry_their_intervals(tmp_path, drawn):
    summary = sample_attention_summary(prompts=("cluster", "eol"))
    attention_spans(summary, tmp_path / "s")
    assert titles(drawn[0]) == ["prompt cluster", "prompt eol"]
    axis = drawn[0].axes[0]
    widths = np.array([bar.get_width() for bar in axis.patches]).reshape(6, len(CHECKPOINTS))
    np.testing.assert_allclose(widths.sum(0), 100, atol=1e-3)
    assert len(axis.collections) == 6  # a set of whiskers for each span
    whisker = axis.collections[2].get_segments()[0]
    row = summary.query("span == 'content' and layer == -1 and adapter == 'base' and prompt == 'cluster'").iloc[0]
    assert np.ptp(whisker[:, 0]) == pytest.approx((row["share_high"] - row["share_low"]) * 100)


def test_many_checkpoints_are_drawn_as_first_and_last(tmp_path, drawn):
    many = [("base", 0), *((name, step) for name in "abcd" for step in range(10, 90, 10))]
    attention_spans(sample_attention_summary(checkpoints=many, layers=(0,), texts=3), tmp_path / "s")
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels == ["base", *(f"{name}@{step}" for name in "abcd" for step in (10, 80))]


def test_the_layer_map_has_a_panel_an_adapter_and_a_cell_a_layer_and_step(tmp_path, drawn):
    summary = sample_attention_summary(texts=30)
    attention_layers(summary, tmp_path / "l")
    assert titles(drawn[0]) == ["prompt cluster\nhalves", "prompt cluster\nsynthetic"]
    cells = drawn[0].axes[0].images[0].get_array()
    assert cells.shape == (4, 4)
    rows = summary.query("span == 'content' and adapter == 'halves' and step == 80 and layer == 3")
    assert cells[3, 3] == pytest.approx(rows["share"].iloc[0] * 100)
    colours = {(text.get_position()): text.get_color() for text in drawn[0].axes[0].texts}
    assert colours[1, 0] in ("#b5b5c5", "#6b6b6b")  # layer 0 does not change: grey
    assert colours[3, 3] not in ("#b5b5c5", "#6b6b6b")


def test_what_was_not_measured_is_no_cell(tmp_path, drawn):
    summary = sample_attention_summary(checkpoints=CHECKPOINTS[:4])
    attention_layers(summary[~((summary["step"] == 40) & (summary["layer"] == 2))], tmp_path / "l")
    cells = drawn[0].axes[0].images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(cells)).sum() == 1
    assert len(drawn[0].axes[0].texts) == 15


def test_a_run_without_adapters_is_drawn(tmp_path):
    summary = sample_attention_summary(checkpoints=[("base", 0)], layers=(2,))
    attention_layers(summary, tmp_path / "l")
    attention_spans(summary, tmp_path / "s")
    assert (tmp_path / "l.svg").exists() and (tmp_path / "s.svg").exists()
