"""Attention: measured rows are the model's own, spans are the composition's, and broken weights are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.attention import rows as attention_rows
from promptpool.attention.measure_attention import measure_attention
from promptpool.attention.rows import batches, checked, chosen, last_rows
from promptpool.attention.spans import MEAN, SPANS, entropy, label_tokens, span_shares
from promptpool.attention.table import ATTENTION_SCHEMA, join, read_measured, read_shown_texts
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import Backbone, load_backbone
from promptpool.models.checkpoint import Checkpoint
from promptpool.templates import Composer, Template
from promptpool.text.function_words import read_function_words
from promptpool.variants import split_adapter_id
from tiny import tiny_adapter, tiny_model, tiny_tokenizer

TEXTS = ["return the shortest path", "a graph", "the weighted nodes of a graph are returned in order", "a graph of 3"]
PROMPTS = {"cluster": 'This sentence: "{text}" belongs to:', "none": "{text}"}
PROMPT = Template.parse("cluster", PROMPTS["cluster"])
WORDS = read_function_words()
SPEC = {
    "sentence": "the harbour", "samples": 1, "layers": "all", "heads": False, "function_words": None,
    "max_text_tokens": 6, "text_normalisation": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), texts=[*TEXTS, *PROMPTS.values()], bos=False, layers=3)


@pytest.fixture(scope="module")
def small(folder) -> Backbone:
    return load_backbone(str(folder), device="cpu", attention="eager")


def sequences(backbone: Backbone, texts=TEXTS) -> list[tuple[int, ...]]:
    composer = Composer(backbone.tokenizer, 6)
    return [composer.compose(PROMPT, text).ids for text in texts]


def rows_of(backbone: Backbone, ids, layers="all") -> list[dict[int, np.ndarray]]:
    found = dict(last_rows(backbone.model, ids, layers))
    return [found[place] for place in range(len(ids))]


# --- rows ------------------------------------------------------------------------------------------


def test_rows_are_those_of_plain_passes_of_single_texts(small):
    ids = sequences(small)
    assert len({len(one) for one in ids}) > 1  # so that the batch is padded
    for found, own in zip(rows_of(small, ids), ids, strict=True):
        with torch.no_grad():
            plain = small.model(input_ids=torch.tensor([own]), output_attentions=True).attentions
        assert sorted(found) == [0, 1, 2]
        for layer, rows in found.items():
            np.testing.assert_allclose(rows, plain[layer][0, :, -1], atol=1e-6)
            np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "bloom", "gpt_neox"])
def test_every_architecture_gives_its_rows(architecture, tmp_path):
    backbone = load_backbone(str(tiny_model(tmp_path, architecture)), device="cpu", attention="eager")
    ids = sequences(backbone)
    alone = [rows_of(backbone, [one])[0] for one in ids]
    for found, own in zip(rows_of(backbone, ids), alone, strict=True):
        assert sorted(found) == [0, 1]
        for layer in found:
            np.testing.assert_allclose(found[layer], own[layer], atol=1e-5)


def test_layers_are_chosen_by_number_and_counted_from_0(small):
    assert [sorted(one) for one in rows_of(small, sequences(small), [-1, 0, 2])] == [[0, 2]] * len(TEXTS)
    with pytest.raises(PromptpoolError, match=r"no layer 3; the model has 3 attention layers"):
        chosen([0, 3], 3)


def test_batches_hold_every_text_once_within_the_limits(monkeypatch):
    monkeypatch.setattr(attention_rows, "MOST_TOKENS", 30)
    lengths = [9, 40, 3, 8, 3, 2, 10]
    made = list(batches(lengths, heads=2))
    assert sorted(place for batch in made for place in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 30 for batch in made)
    assert len(made) < len(lengths)
    monkeypatch.setattr(attention_rows, "MOST_WEIGHTS", 200)
    assert all(len(one) == 1 or len(one) * 2 * max(lengths[i] for i in one) ** 2 <= 200 for one in batches(lengths, 2))


def test_fused_attention_is_refused_because_it_gives_no_weights(folder):
    fused = load_backbone(str(folder), device="cpu", attention="sdpa")
    with pytest.raises(PromptpoolError, match="eager"):
        rows_of(fused, sequences(fused))


def test_a_model_without_attention_is_told_apart(tmp_path):
    mamba = load_backbone(str(tiny_model(tmp_path, "mamba")), device="cpu", attention="eager")
    with pytest.raises(PromptpoolError, match="attention: null"):
        rows_of(mamba, sequences(mamba))


def causal(tokens: int = 4) -> torch.Tensor:
    rows = torch.rand(1, 2, tokens, generator=torch.manual_seed(0)) + 0.1
    return rows / rows.sum(-1, keepdim=True)


@pytest.mark.parametrize("spoil", [1.1, float("nan"), -1.0])
def test_rows_that_are_no_probabilities_are_refused(spoil):
    rows, whole = causal(), torch.tensor([4])
    checked(rows, whole, 0)
    rows[0, 1, 2] *= spoil
    with pytest.raises(PromptpoolError, match="layer 0: "):
        checked(rows, whole, 0)


def test_a_last_token_that_looks_ahead_is_refused():
    with pytest.raises(PromptpoolError, match="layer 5: the last token looks ahead"):
        checked(causal(), torch.tensor([3]), 5)


def test_half_precision_rounding_is_no_error_and_is_put_right():
    rows = checked(causal(300).bfloat16(), torch.tensor([300]), 0)
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-5)


# --- spans -----------------------------------------------------------------------------------------


def labelled(text: str, template: str = PROMPTS["cluster"], bos: bool = False, most: int = 50):
    return label_tokens(Composer(tiny_tokenizer(bos=bos), most), Template.parse("p", template), text, WORDS)


def test_spans_are_those_of_the_composition():
    found, composed = labelled(TEXTS[2]), Composer(tiny_tokenizer(bos=False), 50).compose(PROMPT, TEXTS[2])
    assert found.ids == composed.ids
    plain = ["text" if span in ("content", "function") else span for span in found.spans]
    assert plain[1:-1] == composed.spans()[1:-1]
    assert (plain[0], plain[-1]) == ("sink", "itself")
    assert "".join(found.tokens) == PROMPT.filled(TEXTS[2])


def test_a_text_that_repeats_the_prompt_keeps_its_own_span():
    # A search for the text's string would find the prompt first.
    found = labelled("sentence: belongs to:")
    place = found.spans.index("content")
    assert "".join(found.tokens[:place]) == 'This sentence: "'
    content = [token for token, span in zip(found.tokens, found.spans, strict=True) if span == "content"]
    assert "".join(content) == "sentence belongs"


def test_text_tokens_are_content_or_function():
    found = labelled("The path, and a node.", "{text} :")
    classes = list(zip(found.tokens, found.spans, strict=True))
    assert "".join(token for token, span in classes if span == "content").split() == ["path", "node"]
    assert "".join(token for token, span in classes if span in ("sink", "function")) == "The, and a."


def test_the_sink_is_the_first_token_alone_and_the_last_is_itself():
    assert labelled("a graph", bos=True).spans.count("sink") == 1
    assert labelled("a graph", bos=True).spans[1] == "prefix"
    assert labelled("graph", "{text}").spans[-1] == "itself"
    assert labelled("g", "{text}").spans == ("sink",)
    assert labelled("", "{text}").spans == ()


def test_a_cut_text_loses_its_end_alone():
    found = labelled(TEXTS[2], most=3)
    assert sum(span in ("content", "function") for span in found.spans) == 3
    assert found.spans[-1] == "itself" and "suffix" in found.spans


def test_both_copies_of_an_echo_are_the_text():
    found = labelled("path of nodes", "Say {text} again: {text} !")
    once = labelled("path of nodes", "Say {text} !")
    for span in ("content", "function"):
        assert found.spans.count(span) == 2 * once.spans.count(span) > 0


def test_bytes_of_one_character_are_shown_once():
    assert labelled("漢", "a {text} b").tokens == ("a", " ", "漢", "·", "·", " b")


def test_shares_sum_to_one_and_entropy_is_in_nats():
    spans = ("sink", "prefix", "content", "content", "function", "itself")
    rows = np.array([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [1, 0, 0, 0, 0, 0], [1 / 6] * 6])
    found = dict(zip(SPANS, span_shares(rows, spans).T, strict=True))
    np.testing.assert_allclose(found["content"], [0.2, 0, 1 / 3])
    np.testing.assert_allclose(found["suffix"], 0)
    np.testing.assert_allclose(sum(found.values()), 1)
    np.testing.assert_allclose(entropy(rows)[1:], [0, np.log(6)], atol=1e-12)


# --- the stage -------------------------------------------------------------------------------------


def run(folder: Path, out: Path, adapter: Path | None = None, texts=TEXTS, **changes) -> Path:
    measure_attention(
        out, checkpoint=Checkpoint(str(folder), adapter=adapter and str(adapter), device="cpu"), model_name="tiny",
        adapter_id="mine@4" if adapter else "base", prompts=PROMPTS, texts=texts, spec={**SPEC, **changes},
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def part(folder, tmp_path_factory) -> Path:
    return run(folder, tmp_path_factory.mktemp("attention") / "base.parquet")


def test_the_table_holds_every_prompt_layer_and_text_but_the_sentence_apart(part):
    table = read_measured(part)
    assert len(table) == 2 * 3 * len(TEXTS) and set(table["text_id"]) == {1, 2, 3, 4}
    assert table[["model", "adapter", "step"]].drop_duplicates().values.tolist() == [["tiny", "base", 0]]
    assert list(dict.fromkeys(table["prompt"])) == ["cluster", "none"] and set(table["head"]) == {MEAN}
    np.testing.assert_allclose(table[list(SPANS)].sum(axis=1), 1, atol=1e-6)
    assert part.with_name("base.parquet.meta.json").exists()


def test_shares_are_the_sums_of_the_rows_weights(part, small):
    table = read_measured(part).query("prompt == 'cluster' and layer == 1 and text_id == 3").iloc[0]
    rows = rows_of(small, sequences(small))[2][1].mean(0)
    spans = np.array(label_tokens(Composer(small.tokenizer, 6), PROMPT, TEXTS[2], WORDS).spans)
    for span in SPANS:
        assert table[span] == pytest.approx(rows[spans == span].sum(), abs=1e-6)
    assert table["entropy"] == pytest.approx(-(rows * np.log(rows)).sum(), abs=1e-4)


def test_the_sentence_and_the_samples_are_kept_token_by_token(part):
    shown = read_shown_texts(part)
    assert list(dict.fromkeys(shown["text"])) == ["the harbour", TEXTS[0]] and len(shown) == 2 * 2 * 3
    for row in shown.itertuples():
        assert len(row.tokens) == len(row.spans) == len(row.weights)
        assert sum(row.weights) == pytest.approx(1, abs=1e-5)


def test_heads_are_kept_on_request_and_average_to_the_mean(folder, tmp_path):
    table = read_measured(run(folder, tmp_path / "heads.parquet", heads=True, layers=[-1]))
    assert set(table["head"]) == {MEAN, 0, 1, 2, 3} and set(table["layer"]) == {2}
    single = table[table["head"] != MEAN].groupby(["prompt", "text_id"])[list(SPANS)].mean()
    mean = table[table["head"] == MEAN].set_index(["prompt", "text_id"])[list(SPANS)]
    np.testing.assert_allclose(single.sort_index(), mean.sort_index(), atol=1e-6)
    assert len(read_shown_texts(tmp_path / "heads.parquet")) == 4


def test_texts_without_a_token_are_left_out_and_told(folder, tmp_path, capsys):
    assert set(read_measured(run(folder, tmp_path / "a.parquet", texts=["", *TEXTS]))["text_id"]) == {1, 2, 3, 4}
    assert "1 texts without a token" in capsys.readouterr().err
    with pytest.raises(PromptpoolError, match=r"attention\.task: none of the texts"):
        run(folder, tmp_path / "b.parquet", texts=[""])
    assert not (tmp_path / "b.parquet").exists()


def test_a_sentence_without_a_token_is_named(folder, tmp_path):
    with pytest.raises(PromptpoolError, match=r"attention\.sentence"):
        run(folder, tmp_path / "a.parquet", sentence="")


def test_an_own_list_of_function_words_counts(folder, part, tmp_path):
    (tmp_path / "words.txt").write_text("graph nodes path\n", encoding="utf-8")
    own = read_measured(run(folder, tmp_path / "own.parquet", function_words=str(tmp_path / "words.txt")))
    assert not np.allclose(own["content"], read_measured(part)["content"])
    text = [one[["content", "function"]].sum(axis=1) for one in (own, read_measured(part))]
    np.testing.assert_allclose(*text, atol=1e-6)


def test_joined_parts_keep_their_order_and_types(folder, part, tmp_path):
    tuned = run(folder, tmp_path / "tuned.parquet", tiny_adapter(tmp_path / "lora", folder))
    join([part, tuned], tmp_path / "all.parquet")
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert list(table.columns) == ATTENTION_SCHEMA.names
    assert table[["adapter", "step"]].drop_duplicates().values.tolist() == [["base", 0], ["mine", 4]]
    assert len(table) == sum(len(pd.read_parquet(one)) for one in (part, tuned))
    base, own = (read_measured(one)[list(SPANS)].to_numpy() for one in (part, tuned))
    assert np.abs(base - own).max() > 1e-3


def test_adapter_ids_split_at_the_last_at_sign():
    assert split_adapter_id("base") == ("base", 0)
    assert split_adapter_id("mine@v2@80") == ("mine@v2", 80)
    with pytest.raises(PromptpoolError, match="name@step"):
        split_adapter_id("mine")
