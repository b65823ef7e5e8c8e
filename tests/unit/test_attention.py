"""Attention: measured rows are the model's own, spans are the composition's, and broken weights are refused."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.attention import check_attention, measure_attention, run_attention, span_shares, split_adapter_id
from promptpool.errors import PromptpoolError
from promptpool.templates import Composer, Template
from tiny import tiny_tokenizer
from transformers import Qwen3Config, Qwen3Model

TEXTS = ["return the shortest path", "a graph", "the weighted nodes of a graph are returned in order"]
PROMPT = Template.parse("cluster", 'This sentence: "{text}" belongs to:')
LAYERS = [0, -1]


def backbone(attention: str = "eager", bos: bool = False) -> SimpleNamespace:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, attn_implementation=attention, initializer_range=0.3,
    )  # fmt: skip
    return SimpleNamespace(
        model=Qwen3Model(config).eval(),
        tokenizer=tiny_tokenizer([*TEXTS, str(PROMPT)], bos),
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="module")
def small() -> SimpleNamespace:
    return backbone()


@pytest.fixture(scope="module")
def table(small) -> pd.DataFrame:
    return measure_attention(small, PROMPT, TEXTS, LAYERS, max_text_tokens=6)


def test_weights_of_each_text_and_layer_sum_to_one(table):
    sums = table.groupby(["text_id", "layer"])["weight"].sum()
    assert len(sums) == len(TEXTS) * len(LAYERS)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert table["weight"].dtype == np.float32


def test_a_row_is_the_head_mean_of_a_plain_forward(small, table):
    ids = Composer(small.tokenizer, 6).compose(PROMPT, TEXTS[2]).ids
    with torch.no_grad():
        plain = small.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    for layer in LAYERS:
        row = table[(table["text_id"] == 2) & (table["layer"] == layer)].sort_values("position")
        np.testing.assert_allclose(row["weight"], plain[layer][0, :, -1].mean(0), atol=1e-6)


def test_spans_and_tokens_are_those_of_the_composition(small, table):
    for text_id, text in enumerate(TEXTS):
        composed = Composer(small.tokenizer, 6).compose(PROMPT, text)
        row = table[(table["text_id"] == text_id) & (table["layer"] == -1)]
        assert row["span"].tolist() == composed.spans()
        assert "".join(row["token"]) == small.tokenizer.decode(list(composed.ids))
        assert row["position"].tolist() == list(range(len(composed.ids)))


def test_a_text_that_repeats_the_prompt_keeps_its_own_span(small):
    # A search for the text's string would find the prompt first.
    odd = measure_attention(small, PROMPT, ["This sentence: belongs to:"], [-1], max_text_tokens=50)
    composed = Composer(small.tokenizer, 50).compose(PROMPT, "This sentence: belongs to:")
    assert (odd["span"] == "text").sum() == composed.text > 3


@pytest.mark.parametrize("bos", [False, True])
def test_the_sink_is_the_first_token_alone(bos):
    row = measure_attention(backbone(bos=bos), PROMPT, TEXTS[:1], [-1], max_text_tokens=6)
    assert row.loc[row["sink"], "position"].tolist() == [0]
    assert row["span"].iloc[0] == ("bos" if bos else "prefix")


def test_sdpa_is_refused_because_it_returns_no_weights(small):
    blind = SimpleNamespace(
        model=lambda **_: SimpleNamespace(attentions=None), tokenizer=small.tokenizer, device=small.device
    )
    with pytest.raises(PromptpoolError, match="eager"):
        measure_attention(blind, PROMPT, TEXTS, [-1], max_text_tokens=6)


def test_a_layer_that_is_not_there_is_named(small):
    with pytest.raises(PromptpoolError, match="no layer 3; the model has 3"):
        measure_attention(small, PROMPT, TEXTS[:1], [3], max_text_tokens=6)


def test_a_prompted_text_without_a_token_is_named(small):
    with pytest.raises(PromptpoolError, match="text 1"):
        measure_attention(small, Template.parse("none", "{text}"), ["a graph", ""], [-1], max_text_tokens=6)


def test_attention_that_looks_ahead_is_refused():
    weights = torch.full((2, 4, 4), 0.25)
    with pytest.raises(PromptpoolError, match="looks ahead"):
        check_attention(weights, "layer 0")


@pytest.mark.parametrize("spoil", [1.01, float("nan")])
def test_attention_that_does_not_sum_to_one_is_refused(spoil):
    weights = torch.tril(torch.ones(2, 4, 4))
    weights = weights / weights.sum(-1, keepdim=True)
    check_attention(weights, "layer 0")
    weights[1, 2, 1] *= spoil
    with pytest.raises(PromptpoolError, match="layer 0"):
        check_attention(weights, "layer 0")


def test_half_precision_rounding_is_no_error():
    weights = torch.softmax(torch.randn(4, 60, 60).masked_fill(torch.ones(60, 60).triu(1).bool(), -1e9), -1)
    check_attention(weights.bfloat16(), "layer 0")


def test_run_attention_writes_the_sentence_first_with_its_checkpoint(tmp_path):
    pytest.importorskip("promptpool.backbone")
    made = backbone()
    made.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    out = tmp_path / "attention" / "base.parquet"
    run_attention(
        out, model=str(tmp_path / "model"), revision=None, adapter=None, adapter_id="base", model_name="tiny",
        prompt_name="cluster", template=str(PROMPT), texts=TEXTS[1:], sentence=TEXTS[0], layers=[-1],
        max_text_tokens=6, device="cpu",
    )  # fmt: skip
    table = pd.read_parquet(out)
    assert table.loc[table["text_id"] == 0, "text"].unique().tolist() == [TEXTS[0]]
    assert table[["model", "adapter", "step", "prompt"]].drop_duplicates().values.tolist() == [
        ["tiny", "base", 0, "cluster"]
    ]
    direct = measure_attention(made, PROMPT, TEXTS, [-1], max_text_tokens=6)
    np.testing.assert_allclose(table["weight"], direct["weight"], atol=1e-6)
    assert out.with_name("base.parquet.meta.json").exists()


def test_adapter_ids_split_at_the_last_at_sign():
    assert split_adapter_id("base") == ("base", 0)
    assert split_adapter_id("mine@v2@80") == ("mine@v2", 80)
    with pytest.raises(PromptpoolError, match="name@step"):
        split_adapter_id("mine")


def placed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(model="tiny", adapter="base", step=0, prompt="cluster")


def test_shares_of_a_checkpoint_add_up_to_one(table):
    shares = span_shares(placed(table))
    np.testing.assert_allclose(shares.groupby("layer")["share"].sum(), 1, atol=1e-5)
    assert ((shares["low"] <= shares["share"] + 1e-12) & (shares["share"] <= shares["high"] + 1e-12)).all()


def test_shares_leave_out_the_chosen_sentence(table):
    spoilt = table.copy()
    spoilt.loc[spoilt["text_id"] == 0, "weight"] = 0
    pd.testing.assert_frame_equal(span_shares(placed(spoilt)), span_shares(placed(table)))
    assert span_shares(placed(table))["n"].unique().tolist() == [len(TEXTS) - 1]


def test_shares_are_the_mean_over_texts(table):
    shares = span_shares(placed(table)).set_index(["layer", "span"])["share"]
    rows = table[(table["layer"] == -1) & (table["text_id"] > 0)]
    assert shares[-1, "text"] == pytest.approx(rows.loc[rows["span"] == "text", "weight"].sum() / 2, abs=1e-6)
    assert shares[-1, "sink"] == pytest.approx(rows.loc[rows["sink"], "weight"].sum() / 2, abs=1e-6)


def test_the_interval_of_one_text_is_unknown(table):
    shares = span_shares(placed(table[table["text_id"] == 0]))
    assert shares["share"].notna().all() and shares["low"].isna().all() and (shares["n"] == 1).all()
