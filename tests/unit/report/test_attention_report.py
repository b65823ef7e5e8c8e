"""The report's attention: the answer in a table, and what its viewer of single texts reads."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from promptpool.attention.table import read_shown_texts
from promptpool.report import attention as report_attention
from promptpool.report.attention import attention_section, moves, single_layers, viewer
from promptpool.report.build_report import environment
from sample_tables import CHECKPOINTS, sample_attention, sample_attention_summary, sample_shown


def test_the_answer_has_a_row_an_adapter_and_prompt():
    summary = sample_attention_summary(texts=30, prompts=("cluster", "eol"))
    rows = moves(summary)
    assert [(row["checkpoint"], row["prompt"]) for row in rows] == [
        ("halves@80", "cluster"), ("halves@80", "eol"), ("synthetic@80", "cluster"), ("synthetic@80", "eol")
    ]  # fmt: skip
    row = rows[0]
    own = summary.query("adapter == 'halves' and step == 80 and prompt == 'cluster' and layer == -1").set_index("span")
    assert row["changes"]["content"]["estimate"] == own.loc["content", "estimate"] > 0 > own.loc["prompt", "estimate"]
    assert row["changes"]["prompt"]["low"] == own.loc["prompt", "low"]
    assert row["base"] + row["changes"]["content"]["estimate"] == pytest.approx(row["share"])
    # Layer 0 is not moved by the sample, the last one most.
    assert (row["layers"], row["up"], row["down"], row["most"]["layer"]) == (4, 3, 0, 3)


def test_a_prompt_without_a_prefix_has_no_change_of_it():
    summary = sample_attention_summary(texts=4)
    row = moves(summary[~summary["span"].isin(["prompt", "prefix", "suffix"])])[0]
    assert row["changes"]["prompt"] is None and row["changes"]["content"]["estimate"] > 0


def test_every_checkpoint_and_layer_is_listed_last_steps_first(monkeypatch):
    summary = sample_attention_summary(texts=3)
    rows = single_layers(summary)
    assert len(rows) == 6 * 4 and {row["layer"] for row in rows} == {0, 1, 2, 3}
    assert [row["checkpoint"] for row in rows[::4]][:2] == ["halves@80", "synthetic@80"]
    monkeypatch.setattr(report_attention, "LAYER_ROWS", 8)
    assert {row["checkpoint"] for row in single_layers(summary)} == {"halves@80", "synthetic@80"}


def test_an_untuned_run_has_no_answer():
    summary = sample_attention_summary(checkpoints=[("base", 0)])
    assert moves(summary) == single_layers(summary) == []


def test_the_viewer_keeps_weights_of_every_checkpoint_and_tokens_once():
    shown = viewer(sample_shown(texts=3))
    assert shown["checkpoints"][0] == "base" and len(shown["checkpoints"]) == 7
    assert len(shown["rows"]) == 3 * 4 * 7 and len(shown["sequences"]) == 1
    assert shown["layers"] == [3, 2, 1, 0] and shown["prompts"] == ["cluster"]
    assert all(sum(row["weights"]) == pytest.approx(10_000, abs=10) for row in shown["rows"])


def test_the_viewer_finds_each_text_under_each_prompt():
    shown = viewer(sample_shown(texts=2, prompts=("eol", "cluster"), checkpoints=CHECKPOINTS[:2]))
    assert shown["prompts"] == ["eol", "cluster"] and shown["texts"][0].endswith("(0)")
    places = {tuple(row[key] for key in ("text", "prompt", "layer", "checkpoint")) for row in shown["rows"]}
    assert len(places) == len(shown["rows"]) == 2 * 2 * 4 * 2


@pytest.mark.parametrize(("most", "texts", "layers"), [(18 * 4 * 7 * 2, 2, 4), (18 * 2 * 7, 1, 2), (1, 1, 1)])
def test_a_viewer_that_would_be_heavy_drops_texts_then_layers(monkeypatch, most, texts, layers):
    monkeypatch.setattr(report_attention, "VIEWER_WEIGHTS", most)
    shown = viewer(sample_shown(texts=5))
    assert (len(shown["texts"]), len(shown["layers"])) == (texts, layers)
    assert shown["texts"][0].endswith("(0)") and shown["layers"][0] == 3
    assert len(shown["checkpoints"]) == 7


def test_two_models_are_told_apart():
    one = sample_shown(texts=1, checkpoints=CHECKPOINTS[:1])
    shown = viewer(pd.concat([one, one.assign(model="other")], ignore_index=True))
    assert shown["checkpoints"] == ["base, nano-docs", "base, other"]


@pytest.mark.parametrize("checkpoints", [CHECKPOINTS, [("base", 0)]])
def test_the_section_shows_the_answer_with_intervals(checkpoints, tmp_path):
    pq.write_table(sample_attention(checkpoints=checkpoints), tmp_path / "a.parquet")
    summary = sample_attention_summary(checkpoints=checkpoints)
    summary.to_parquet(tmp_path / "s.parquet")
    section = attention_section(tmp_path / "a.parquet", tmp_path / "s.parquet")
    page = environment().from_string("{% macro pictured(kinds) %}{% endmacro %}{% include 'attention.html.j2' %}")
    html = page.render(attention=section)
    assert "NaN" not in html and "nan" not in html.replace("nano", "")
    if len(checkpoints) > 1:
        row = html.split("<tbody>")[1].split("</tr>")[0]
        change = section["moves"][0]["changes"]["content"]
        assert f"+{change['estimate'] * 100:.1f}" in row and f"+{change['high'] * 100:.1f}" in row
        assert "0 of 4</td>" in row and "layer 3: +" in " ".join(row.split())
    else:
        assert "Does tuning move" not in html
    assert len(read_shown_texts(tmp_path / "a.parquet")) == 5 * 4 * len(checkpoints)
    assert np.isfinite(summary["share"]).all()
