"""Texts in one row: the states, loss and gradients of padded ones, where a model allows it; and nothing where not."""

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.models.decoder import set_attention
from promptpool.templates import Template
from promptpool.training import packed as code
from promptpool.training.chunks import cut_chunks
from promptpool.training.lora import tunable_model
from promptpool.training.packed import PACKED_ATTENTION, is_packed, pack, packed_attention, row_of
from promptpool.training.rank import train_rank
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from tiny import tiny_model
from tiny_architectures import tiny_architecture, tiny_config
from tiny_training import SPEC, TEMPLATE, base_model, call, sidecar, weights, write_pairs

LENGTHS = [11, 9, 9, 4, 3, 3, 1]
NO_DROPOUT = {"lora": {**SPEC["lora"], "dropout": 0.0}}
CPU = torch.device("cpu")


@pytest.fixture
def packing(monkeypatch):
    """A CPU packs as a GPU does."""
    monkeypatch.setattr(code, "PACKS_ON", {"cpu": True, "cuda": True})


def tuned(path, causal: bool = True, attention: str = "sdpa", **changes) -> SentenceTransformer:
    model = tunable_model(
        str(path), Template.parse("p", TEMPLATE), {**SPEC, **NO_DROPOUT, **changes}, 16, revision=None, device=CPU,
        dtype=torch.float32, causal=causal, attention=attention,
    )  # fmt: skip
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def batch(rows: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(5, rows, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return ids, mask.long()


def gradients(model: SentenceTransformer, **lengths) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A batch's states and the gradients of a sum over them, in which every state has a weight of its own."""
    ids, mask = batch()
    model.zero_grad()
    states = model.transformers_model(input_ids=ids, attention_mask=mask, **lengths).last_hidden_state * mask[..., None]
    (states * torch.linspace(0, 1, states.numel()).reshape(states.shape)).sum().backward()
    return states.detach(), {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize(
    ("kind", "changes", "causal"),
    [
        ("qwen3", {}, True),
        ("llama", {}, True),
        ("mistral", {"sliding_window": 3}, True),
        ("llama", {}, False),
    ],
    ids=["groups of heads", "llama", "a window", "both ways"],
)
def test_states_and_gradients_are_those_of_padded_texts(packing, tmp_path, kind, changes, causal):
    model = tuned(tiny_model(tmp_path / "model", kind, **changes), causal)
    assert is_packed(model.transformers_model)
    padded, wanted = gradients(model)
    packed, found = gradients(model, lengths=LENGTHS)
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
    assert found.keys() == wanted.keys() and len(wanted) > 4
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", [{}, {"gradient_checkpointing": True}, {"micro_batch_size": 3}], ids=str)
@pytest.mark.parametrize(
    "changes",
    [{}, {"negatives": "micro_batch", "micro_batch_size": 4, "layer": 1}],
    ids=["batch", "blocks, inner layer"],
)
def test_a_training_in_rows_gives_the_weights_of_a_padded_one(packing, monkeypatch, tmp_path, how, changes):
    model, pairs = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    for name, packs in (("row", True), ("padded", False)):
        monkeypatch.setattr(code, "PACKS_ON", {"cpu": packs})
        train_rank(**call(model, pairs, tmp_path / name, how, **NO_DROPOUT, **changes))
        assert sidecar(tmp_path / name)["packed"] is packs
    logs = [pd.read_parquet(tmp_path / name / "training.parquet") for name in ("row", "padded")]
    columns = ["loss", "negatives", "accuracy", "grad_norm"]
    pd.testing.assert_frame_equal(*(log[columns] for log in logs), rtol=1e-3)
    row, padded = (weights(tmp_path / name, 3) for name in ("row", "padded"))
    assert all(torch.allclose(row[name], padded[name], rtol=1e-3, atol=1e-4) for name in padded)


@pytest.mark.parametrize(
    "more",
    [{"template": {"query": TEMPLATE, "document": "{text}"}}, {"causal": False}],
    ids=["roles", "both ways"],
)
def test_other_ways_to_train_give_the_same_in_rows(monkeypatch, tmp_path, more):
    """With every token pooled, several lengths of vectors, and validation, whose texts are padded between the steps."""
    model, pairs = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    recipe = {**NO_DROPOUT, "pooling": "concat", "matryoshka": [8], "symmetric": True, "validation": 0.2}
    for name, packs in (("row", True), ("padded", False)):
        monkeypatch.setattr(code, "PACKS_ON", {"cpu": packs})
        train_rank(**{**call(model, pairs, tmp_path / name, **recipe), **more})
        assert sidecar(tmp_path / name)["packed"] is packs
    row, padded = (weights(tmp_path / name, 3) for name in ("row", "padded"))
    assert all(torch.allclose(row[name], padded[name], rtol=1e-3, atol=1e-4) for name in padded)


def test_a_chunk_of_a_packing_model_is_cut_by_its_texts_tokens_alone():
    sides = {"input_ids": torch.zeros(4, 9, dtype=torch.long), "attention_mask": torch.ones(4, 9, dtype=torch.long)}
    chunks = cut_chunks(sides, [9, 2, 1, 1], 11, packed=True)
    assert [chunk["lengths"] for chunk in chunks] == [[9, 2], [1, 1]]
    assert [chunk["tokens"] for chunk in chunks] == [11, 2] and chunks[1]["input_ids"].shape == (2, 1)
    assert [len(chunk["input_ids"]) for chunk in cut_chunks(sides, [9, 2, 1, 1], 11)] == [1, 2, 1]


def test_a_long_text_does_not_widen_too_many_short_ones():
    """Their last states are padded to its length: at most four times a chunk's tokens."""
    lengths = [50, *[1] * 40]
    sides = {name: torch.ones(41, 50, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    chunks = cut_chunks(sides, lengths, 100, packed=True)
    assert [chunk["input_ids"].shape for chunk in chunks] == [(8, 50), (33, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_at_most_a_quarter_of_the_attention_is_padding(seed):
    draw = np.random.default_rng(seed)
    lengths = sorted(np.clip(np.exp(draw.normal(3.7, 0.9, 240)), 12, 512).astype(int).tolist(), reverse=True)
    row = row_of(lengths, lengths[0], True, CPU)
    assert sum(group.texts * group.width for group in row.groups) * 0.75 <= sum(lengths)
    assert len(row.groups) < 12 and len(row.positions) == sum(lengths)


# Those that run under eager attention; whose convolution or state runs on into the next text, which the trial finds;
# that reads a long text in parts.
@pytest.mark.parametrize("kind", ["bloom", "mamba", "gemma2", "mpt", "lfm2", "falcon_h1", "bamba", "llama4_text"])
def test_a_model_that_a_row_would_change_is_not_packed(packing, tmp_path, kind):
    model = SentenceTransformer(modules=[Transformer(str(tiny_architecture(tmp_path / "model", tiny_config(kind))))])
    pack(model)
    assert not is_packed(model.transformers_model)


@pytest.mark.parametrize("extra", [{"softcap": 30.0}, {"s_aux": torch.zeros(2)}], ids=str)
def test_the_attention_refuses_what_it_does_not_compute(extra):
    row, states = row_of([2, 1], 2, True, CPU), torch.ones(1, 2, 3, 4)
    assert packed_attention(torch.nn.Identity(), states, states, states, None, row=row)[0].shape == (1, 3, 2, 4)
    with pytest.raises(ValueError, match="Identity: not part of the packed attention"):
        packed_attention(torch.nn.Identity(), states, states, states, None, row=row, **extra)


def test_the_trial_has_two_groups_one_of_which_pads():
    lengths = [len(text) for text in code.PROBE]
    full, padded = row_of(lengths, lengths[0], True, CPU).groups
    assert full.places is None and padded.places is not None and padded.texts == 2


def test_a_trial_that_says_nothing_changes_nothing(packing, monkeypatch, tmp_path):
    """Left as it was: its attention, its mode. A full device is no answer, and is raised."""
    path = tiny_model(tmp_path / "model")
    for attention in ("eager", "sdpa"):
        model = tuned(path, attention=attention)
        assert is_packed(model.transformers_model) is (attention == "sdpa")
        assert model.transformers_model.config._attn_implementation == attention and model.training

    def full(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(code, "packed_pass", full)
    with pytest.raises(torch.OutOfMemoryError):
        tuned(path)


def test_a_cpu_pads_and_a_gpu_packs(tmp_path):
    assert code.PACKS_ON == {"cpu": False, "cuda": True}
    model = tuned(tiny_model(tmp_path / "model"))
    assert not is_packed(model.transformers_model)
    set_attention(model.transformers_model, PACKED_ATTENTION)
    with pytest.raises(ValueError, match="not part of the packed attention"):
        model.encode(["a text"])


@pytest.mark.parametrize(("kind", "packs"), [("qwen3", True), ("gpt2", True), ("lfm2", False), ("falcon_h1", False)])
def test_the_trial_in_bfloat16_says_what_it_says_in_float32(packing, tmp_path, kind, packs):
    path = tiny_architecture(tmp_path / "model", tiny_config(kind))
    for dtype in (torch.float32, torch.bfloat16):
        model = SentenceTransformer(modules=[Transformer(str(path), model_kwargs={"dtype": dtype})])
        pack(model)
        assert is_packed(model.transformers_model) is packs, dtype
