"""Left-out words: the text without each, how far the vector moves, and intervals of what tuning changed."""

import numpy as np
import pandas as pd
import pytest
from promptpool.attention.omit_words import omit_words, without_each
from promptpool.attention.summarise_omissions import OMISSION_SUMMARY, omission_summary, summarise_omissions
from promptpool.attention.table import OMISSION_COLUMNS
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.checkpoint import Checkpoint
from promptpool.text.function_words import read_function_words
from tiny import tiny_adapter, tiny_model

WORDS = read_function_words()
TEXTS = ["the weighted nodes of a graph are returned in order", "bread", "a graph of the harbour"]
PROMPTS = {"cluster": 'This sentence: "{text}" belongs to:', "none": "{text}"}
SPEC = {"function_words": None, "max_text_tokens": 40, "text_normalisation": "none"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the old bread", [("the", "function", "old bread"), ("old", "content", "the bread"),
                           ("bread", "content", "the old")]),
        ("a graph, of 3", [("a", "function", "graph, of 3"), ("graph", "content", "a, of 3"),
                           ("of", "function", "a graph, 3"), ("3", "content", "a graph, of")]),
        ("Kepler's law", [("Kepler", "content", "'s law"), ("'s", "function", "Kepler law"),
                          ("law", "content", "Kepler's")]),
        ("bread", []),
        ("... !", []),
    ],
)  # fmt: skip
def test_each_word_is_left_out_in_turn(text, expected):
    assert without_each(text, WORDS) == expected


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("omissions")
    model = tiny_model(folder / "model", texts=[*TEXTS, *PROMPTS.values()], bos=False, layers=3)
    adapter = tiny_adapter(folder / "adapter", model)
    paths = []
    for name, weights in (("base", None), ("mine@4", str(adapter))):
        checkpoint = Checkpoint(str(model), adapter=weights, device="cpu")
        paths.append(folder / f"{name}.parquet")
        omit_words(paths[-1], checkpoint=checkpoint, model_name="m", adapter_id=name, prompts=PROMPTS, texts=TEXTS,
                   spec=SPEC)  # fmt: skip
    return model, paths


def test_effects_are_cosines_of_plain_vectors(parts):
    model, (path, _) = parts
    table = pd.read_parquet(path)
    assert list(table) == OMISSION_COLUMNS and set(table["text_id"]) == {1, 3}  # one word has no rest
    engine = Embedder.load(str(model), device="cpu")
    for prompt, template in PROMPTS.items():
        for text_id in (1, 3):
            own = table[(table["prompt"] == prompt) & (table["text_id"] == text_id)]
            rest = [shorter for *_, shorter in without_each(TEXTS[text_id - 1], WORDS)]
            whole, *others = engine.encode([TEXTS[text_id - 1], *rest], template, "last").astype(float)
            wanted = [1 - whole @ one / np.linalg.norm(whole) / np.linalg.norm(one) for one in others]
            np.testing.assert_allclose(own["effect"], wanted, atol=1e-6)
            assert own["effect"].min() > 1e-6
    assert set(table["kind"]) == {"content", "function"}


def test_a_long_text_is_cut_before_words_are_left_out(parts, tmp_path):
    model, _ = parts
    omit_words(tmp_path / "cut.parquet", checkpoint=Checkpoint(str(model), device="cpu"), model_name="m",
               adapter_id="base", prompts=PROMPTS, texts=TEXTS[:1], spec={**SPEC, "max_text_tokens": 3})  # fmt: skip
    found = pd.read_parquet(tmp_path / "cut.parquet")["word"].tolist()
    assert 2 <= len(found) < 2 * 5 and found[0] == "the" and "order" not in found


def test_texts_of_single_words_are_refused(parts, tmp_path):
    model, _ = parts
    with pytest.raises(PromptpoolError, match=r"attention.omissions: no text has two words; name another task"):
        omit_words(tmp_path / "none.parquet", checkpoint=Checkpoint(str(model), device="cpu"), model_name="m",
                   adapter_id="base", prompts=PROMPTS, texts=["bread"], spec=SPEC)  # fmt: skip


def test_the_stage_joins_and_summarises(parts, tmp_path):
    _, paths = parts
    summarise_omissions(paths, tmp_path / "all.parquet", tmp_path / "summary.parquet")
    assert len(pd.read_parquet(tmp_path / "all.parquet")) == sum(len(pd.read_parquet(path)) for path in paths)
    summary = pd.read_parquet(tmp_path / "summary.parquet")
    assert list(summary) == OMISSION_SUMMARY and len(summary) == 2 * 2 * 3
    assert summary.loc[summary["adapter"] == "base", "change"].isna().all()


def table_of(adapter: str, content: float, seed: int = 0, texts: int = 60) -> pd.DataFrame:
    """Effects with mean 0.1 of function words and `content` times that of content words."""
    rng, rows = np.random.default_rng(seed), []
    for text_id in range(1, texts + 1):
        for number in range(8):
            kind = "content" if number % 2 else "function"
            effect = 0.1 * (content if kind == "content" else 1) * rng.gamma(8.0) / 8.0
            rows.append(("m", adapter, 0 if adapter == "base" else 4, "cluster", text_id, "w", kind, effect))
    return pd.DataFrame(rows, columns=OMISSION_COLUMNS)


def ratio(summary: pd.DataFrame, adapter: str) -> pd.Series:
    (row,) = [row for _, row in summary.iterrows() if (row["adapter"], row["measure"]) == (adapter, "ratio")]
    return row


def test_ratio_and_change_are_found_with_their_intervals():
    summary = omission_summary(pd.concat([table_of("base", 3), table_of("mine", 5, 1), table_of("same", 3, 2)]))
    base, tuned, same = (ratio(summary, name) for name in ("base", "mine", "same"))
    assert abs(base["value"] - 3) < 0.3 and base["low"] < base["value"] < base["high"] < 1.3 * base["low"]
    assert abs(tuned["change"] - 5 / 3) < 0.2 and tuned["change_low"] > 1.3 and tuned["p_holm"] < 0.001
    assert same["change_low"] < 1 < same["change_high"] and same["p"] > 0.05
    means = summary[(summary["measure"] == "content") & (summary["adapter"] == "mine")].iloc[0]
    assert abs(means["value"] - 0.5) < 0.05


def test_intervals_hold_what_they_say():
    inside = sum(
        row["low"] <= 3 <= row["high"]
        for row in (ratio(omission_summary(table_of("base", 3, seed, texts=20)), "base") for seed in range(60))
    )
    assert inside >= 51  # of 60; fewer happen in one of 100 runs if they cover .95


def test_an_adapter_without_its_base_is_refused():
    with pytest.raises(PromptpoolError, match=r"mine@4 has no base of model 'm' on its texts; measure both"):
        omission_summary(table_of("mine", 3))
    with pytest.raises(PromptpoolError, match="have no function words under prompt cluster; set"):
        omission_summary(table_of("base", 3).query("kind == 'content'"))
