"""What tuning moved: paired by text, with intervals that hold what they say, and one family of comparisons."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from promptpool.attention.spans import MEAN, SPANS
from promptpool.attention.summarise_attention import MEASURES, summarise_attention, summary_table
from promptpool.attention.table import ATTENTION_SCHEMA
from promptpool.errors import PromptpoolError

TEXTS = 40


def part(path: Path, adapter: str = "base", step: int = 0, *, moved: float = 0.0, texts: int = TEXTS, layers=(0, 1),
         heads=(MEAN,), prompt: str = "cluster", noise: int = 0, sentence: float = 0.0) -> Path:  # fmt: skip
    """A part in which `moved` of the share goes from the prefix to the content words, in layer 1 alone."""
    rng, rows = np.random.default_rng(5), []
    for text_id in range(texts + 1):
        share = rng.dirichlet([8.0] * len(SPANS)) * 0.4 + 0.1  # no share is under a tenth
        for layer in layers:
            for head in heads:
                own = np.append(share, 1.0)
                jitter = np.random.default_rng([noise, text_id, layer]).normal(0, 0.01) if noise else 0.0
                change = (moved if layer == 1 else 0.0) + jitter + (sentence if text_id == 0 else 0.0)
                own[SPANS.index("content")] += change
                own[SPANS.index("prefix")] -= change
                if prompt == "none":  # a prompt that is nothing but the text
                    own[SPANS.index("content")] += own[SPANS.index("prefix")] + own[SPANS.index("suffix")]
                    own[[SPANS.index("prefix"), SPANS.index("suffix")]] = 0
                values = dict(zip((*SPANS, "entropy"), own, strict=True))
                rows.append({"model": "m", "adapter": adapter, "step": step, "prompt": prompt, "layer": layer,
                             "head": head, "text_id": text_id, **values, "length": 9})  # fmt: skip
    empty = {name: [None] * len(rows) for name in ("text", "tokens", "spans", "weights")}
    columns = {**pd.DataFrame(rows).to_dict("list"), **empty}
    pq.write_table(
        pa.table({f.name: pa.array(columns[f.name], f.type) for f in ATTENTION_SCHEMA}, schema=ATTENTION_SCHEMA), path
    )
    return path


def picked(summary: pd.DataFrame, span: str, layer: int = 1, head: int = MEAN, adapter: str = "mine") -> pd.Series:
    rows = summary[(summary["span"] == span) & (summary["layer"] == layer) & (summary["head"] == head)]
    rows = rows[rows["adapter"] == adapter]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture(scope="module")
def summary(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("parts")
    tuned = part(folder / "tuned.parquet", "mine", 4, moved=0.05, noise=1)
    return summary_table([tuned, part(folder / "base.parquet")])  # the order of parts does not matter


def test_what_moved_is_found_where_it_moved(summary):
    content, prompt = picked(summary, "content"), picked(summary, "prompt")
    assert content["low"] < 0.05 < content["high"] and content["high"] - content["low"] < 0.01
    assert prompt["estimate"] == pytest.approx(-content["estimate"], abs=1e-6) and prompt["high"] < 0
    assert content["p_holm"] < 0.001 and content["n"] == TEXTS
    still = picked(summary, "content", layer=0)
    assert still["low"] < 0 < still["high"] and still["p_holm"] > 0.05
    assert picked(summary, "sink")["estimate"] == picked(summary, "sink")["low"] == 0
    over_layers = picked(summary, "content", layer=MEAN)["estimate"]
    assert over_layers == pytest.approx((content["estimate"] + still["estimate"]) / 2)


def test_pairing_by_text_makes_the_difference_surer_than_the_shares(summary):
    row = picked(summary, "content")
    assert row["high"] - row["low"] < 0.6 * (row["share_high"] - row["share_low"])


def test_base_has_shares_and_no_difference(summary):
    base = summary[summary["adapter"] == "base"]
    assert base[["estimate", "low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert base["share_low"].notna().all() and set(base["span"]) == set(MEASURES)
    spans = base[base["span"].isin(SPANS)].groupby("layer")["share"].sum()
    np.testing.assert_allclose(spans, 1, atol=1e-6)


def test_the_content_beyond_the_sink_is_taken_text_by_text(tmp_path):
    table = pd.read_parquet(part(tmp_path / "base.parquet")).query("text_id > 0 and layer == 1")
    found = picked(summary_table([tmp_path / "base.parquet"]), "content_beyond_sink", adapter="base")
    assert found["share"] == pytest.approx((table["content"] / (1 - table["sink"])).mean(), abs=1e-6)


def test_the_chosen_sentence_is_in_no_mean(tmp_path):
    plain = summary_table([part(tmp_path / "a.parquet")])
    spoilt = summary_table([part(tmp_path / "b.parquet", sentence=0.09)])
    pd.testing.assert_frame_equal(plain, spoilt)


@pytest.mark.parametrize("texts", [4, TEXTS])
def test_the_interval_covers_as_often_as_it_says(texts, tmp_path):
    base = part(tmp_path / "base.parquet", layers=(1,), texts=texts)
    hits = []
    for seed in range(1, 61):
        tuned = part(tmp_path / "tuned.parquet", "mine", 4, moved=0.02, layers=(1,), noise=seed, texts=texts)
        row = picked(summary_table([base, tuned]), "content")
        hits.append(row["low"] < 0.02 < row["high"])
    assert 0.85 <= np.mean(hits) <= 1.0


def test_holm_is_over_all_differences_of_the_means_and_apart_from_single_heads(tmp_path):
    many = [part(tmp_path / "base.parquet", heads=(MEAN, 0, 1))]
    many.append(part(tmp_path / "tuned.parquet", "mine", 4, moved=0.01, noise=3, heads=(MEAN, 0, 1)))
    found = summary_table(many)
    tested = found[(found["head"] == MEAN) & found["p"].notna()]
    smallest = tested.loc[tested["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1, smallest["p"] * len(tested)))
    alone = summary_table([part(tmp_path / "b.parquet"), part(tmp_path / "t.parquet", "mine", 4, moved=0.01, noise=3)])
    assert picked(found, "content")["p_holm"] == pytest.approx(picked(alone, "content")["p_holm"])
    assert picked(found, "content", head=0)["p_holm"] > picked(found, "content")["p_holm"]


def test_a_span_that_a_prompt_lacks_has_no_row(tmp_path):
    found = summary_table([part(tmp_path / "base.parquet", prompt="none")])
    assert set(found["span"]) == {"sink", "content", "function", "itself", "content_beyond_sink", "entropy"}


def test_one_layer_is_not_averaged_and_one_text_has_no_interval(tmp_path):
    base = part(tmp_path / "base.parquet", layers=(1,), texts=1)
    found = summary_table([base, part(tmp_path / "t.parquet", "mine", 4, moved=0.05, layers=(1,), texts=1)])
    assert set(found["layer"]) == {1}
    assert picked(found, "content")["estimate"] == pytest.approx(0.05, abs=1e-6)
    assert found[["low", "high", "p", "p_holm", "share_low"]].isna().all(axis=None)


def test_a_part_that_cannot_be_compared_is_named(tmp_path):
    base, tuned = part(tmp_path / "base.parquet"), part(tmp_path / "tuned.parquet", "mine", 4, texts=30)
    with pytest.raises(PromptpoolError, match=r"tuned\.parquet: other texts"):
        summary_table([base, tuned])
    with pytest.raises(PromptpoolError, match=r"tuned\.parquet: no base"):
        summary_table([tuned])


def test_the_stage_writes_both_tables_with_sidecars(tmp_path):
    parts = [part(tmp_path / "base.parquet"), part(tmp_path / "tuned.parquet", "mine", 4)]
    summarise_attention(parts, tmp_path / "attention.parquet", tmp_path / "summary.parquet")
    assert len(pd.read_parquet(tmp_path / "attention.parquet")) == 2 * 2 * (TEXTS + 1)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "summary.parquet"), summary_table(parts))
    assert (tmp_path / "attention.parquet.meta.json").exists() and (tmp_path / "summary.parquet.meta.json").exists()
