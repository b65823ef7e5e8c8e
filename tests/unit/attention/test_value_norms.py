"""Value norms: a token's part in what the attention returns, of the model's own values and output projection."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.attention.measure_attention import measure_attention
from promptpool.attention.measure_value_norms import measure_value_norms
from promptpool.attention.rows import last_rows
from promptpool.attention.spans import MEAN, SPANS
from promptpool.attention.summarise_value_norms import with_plain
from promptpool.attention.table import ATTENTION_SCHEMA, read_measured
from promptpool.attention.value_norms import value_norm_rows
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import Backbone, load_backbone
from promptpool.models.checkpoint import Checkpoint
from sample_tables import sample_attention_summary, sample_value_norm_summary
from tiny import tiny_adapter, tiny_model

SEQUENCES = [(5, 9, 11, 3, 8, 20), (4, 7, 13), (6, 2, 9, 30, 12)]


def loaded(folder: Path, *more: object) -> Backbone:
    return load_backbone(str(folder), *more, device="cpu", attention="eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), layers=3)


@pytest.fixture(scope="module")
def small(folder) -> Backbone:
    return loaded(folder)


def rows_of(backbone: Backbone, layers="all", sequences=SEQUENCES) -> list[dict[int, np.ndarray]]:
    found = dict(value_norm_rows(backbone.model, sequences, layers))
    return [found[place] for place in range(len(sequences))]


def by_hand(backbone: Backbone, ids: tuple[int, ...]) -> dict[int, np.ndarray]:
    """The rows of a Llama, from its value and output layers as hooks see them; they add up to what it returns."""
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def taking(layer: int, name: str):
        return lambda module, given, out: seen.setdefault(layer, {}).update({name: out[0].detach()})

    hooks = []
    for layer, block in enumerate(backbone.model.layers):
        for name in ("v_proj", "o_proj"):
            hooks.append(getattr(block.self_attn, name).register_forward_hook(taking(layer, name)))
    with torch.no_grad():
        attention = backbone.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    for hook in hooks:
        hook.remove()
    rows = {}
    for layer, block in enumerate(backbone.model.layers):
        weights = attention[layer][0, :, -1].double()  # [heads, tokens]
        heads, dim = len(weights), block.self_attn.head_dim
        values = seen[layer]["v_proj"].double().unflatten(-1, (-1, dim)).transpose(0, 1)  # [kv_heads, tokens, dim]
        values = values[torch.arange(heads) // (heads // len(values))]
        out = block.self_attn.o_proj.weight.detach().double().unflatten(1, (heads, dim))  # [width, heads, dim]
        parts = torch.einsum("ht,htd,whd->htw", weights, values, out)
        torch.testing.assert_close(parts.sum((0, 1)), seen[layer]["o_proj"][-1].double(), atol=1e-5, rtol=1e-4)
        norms = torch.cat([parts.sum(0)[None], parts]).norm(dim=-1)
        rows[layer] = (norms / norms.sum(-1, keepdim=True)).numpy()
    return rows


def test_rows_are_norms_of_each_tokens_part_in_what_the_layer_returns(small):
    for found, ids in zip(rows_of(small), SEQUENCES, strict=True):
        for layer, rows in by_hand(small, ids).items():
            np.testing.assert_allclose(found[layer], rows, atol=2e-6)


def test_an_adapters_values_are_its_own(folder, small, tmp_path):
    tuned = loaded(folder, None, str(tiny_adapter(tmp_path / "adapter", folder)))
    for found, ids, plain in zip(rows_of(tuned), SEQUENCES, rows_of(small), strict=True):
        for layer, rows in by_hand(tuned, ids).items():
            np.testing.assert_allclose(found[layer], rows, atol=2e-6)
        assert any(np.abs(found[layer] - plain[layer]).max() > 1e-3 for layer in found)


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "gpt_neox", "qwen3"])
def test_a_batch_gives_the_rows_of_single_texts(architecture, tmp_path):
    backbone = loaded(tiny_model(tmp_path, architecture))
    for found, ids in zip(rows_of(backbone), SEQUENCES, strict=True):
        alone = rows_of(backbone, sequences=[ids])[0]
        assert sorted(found) == [0, 1]
        for layer, rows in found.items():
            np.testing.assert_allclose(rows, alone[layer], atol=1e-5)
            np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-12)


def test_the_model_is_left_as_it_was(small):
    before = dict(last_rows(small.model, SEQUENCES, "all"))
    list(value_norm_rows(small.model, SEQUENCES, [-1]))
    next(value_norm_rows(small.model, SEQUENCES, "all"))  # a reader that stops in the middle
    after = dict(last_rows(small.model, SEQUENCES, "all"))
    assert small.model.config._attn_implementation == "eager"
    np.testing.assert_array_equal(before[0][1], after[0][1])


def test_layers_are_chosen_by_number(small):
    assert [sorted(one) for one in rows_of(small, [-1, 0])] == [[0, 2]] * len(SEQUENCES)
    with pytest.raises(PromptpoolError, match=r"attention\.layers: no layer 3"):
        rows_of(small, [3])


@pytest.mark.parametrize("architecture", ["bloom", "mamba"])
def test_a_model_with_another_attention_is_refused(architecture, tmp_path):
    with pytest.raises(PromptpoolError, match="value_norms: false"):
        rows_of(loaded(tiny_model(tmp_path, architecture)))


def test_the_stage_writes_the_table_of_attention(folder, tmp_path):
    spec = {
        "sentence": "the harbour", "samples": 1, "layers": "all", "heads": True, "function_words": None,
        "max_text_tokens": 6, "text_normalisation": "none",
    }  # fmt: skip
    how = {"checkpoint": Checkpoint(str(folder), device="cpu"), "model_name": "tiny", "adapter_id": "base",
           "prompts": {"none": "{text}"}, "texts": ["return the path", "a graph of nodes"], "spec": spec}  # fmt: skip
    measure_value_norms(tmp_path / "norms.parquet", **how)
    measure_attention(tmp_path / "plain.parquet", **how)
    norms, plain = (read_measured(tmp_path / f"{name}.parquet") for name in ("norms", "plain"))
    assert set(norms.columns) <= set(ATTENTION_SCHEMA.names) and len(norms) == len(plain)
    assert (norms[["layer", "head", "text_id"]] == plain[["layer", "head", "text_id"]]).all(axis=None)
    np.testing.assert_allclose(norms[list(SPANS)].sum(axis=1), 1, atol=1e-6)
    assert (norms[norms["head"] == MEAN]["sink"] - plain[plain["head"] == MEAN]["sink"]).abs().max() > 1e-3
    assert (tmp_path / "norms.parquet.meta.json").exists()


def test_the_summary_has_the_plain_share_of_the_same_row():
    both = sample_value_norm_summary()
    plain = sample_attention_summary()
    pd.testing.assert_series_equal(both["plain_share"], plain["share"], check_names=False)
    with pytest.raises(PromptpoolError, match="of other texts or layers"):
        with_plain(plain, sample_attention_summary(texts=4))
    with pytest.raises(PromptpoolError, match="of other texts or layers"):
        with_plain(plain, plain[plain["layer"] != 2])
