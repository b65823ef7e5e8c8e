"""The engine on a pretended GPU gives what it gives on a CPU. tests/unit/embedding/test_pretended_gpu.py runs this."""

from pretended_gpu.device import pretended_gpu  # isort: skip  (before torch)

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.embedding import batches as family_batches
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.family_pooling import Readout
from promptpool.embedding.packing import Batch, Tile
from promptpool.training.train_adapter import train_adapter
from tiny import TEXTS, tiny_model
from tiny_training import SPEC, base_model, call, weights, write_pairs

CLOSE = 1e-5  # of the largest value
# An upper bound (123 measured: two layers, three prompts, eight poolings, the set-up of each family's head with it).
# A change that takes host waits out lowers it.
WAITS_A_BATCH = 125
PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
POOLINGS = ["mean", "last", "eos", "weighted", "max", "concat", "attention", "mean:text"]
MANY = [f"{text} {number}" for number in range(10) for text in TEXTS]


def grid(path, device: str, dtype: str = "float32", **options):
    return Embedder.load(str(path), device=device, dtype=dtype, **options).grid(MANY, PROMPTS, POOLINGS, [-1, 0.5])


def close(found: dict, wanted: dict) -> bool:
    return all(np.abs(found[key] - wanted[key]).max() <= CLOSE * np.abs(wanted[key]).max() for key in wanted)


def waits_a_batch(path, dtype: str = "float32") -> tuple[dict, float]:
    """The grid on the pretended GPU, and the host's waits a batch, the one for each batch's results aside."""
    with pretended_gpu() as waits:
        engine = Embedder.load(str(path), device="cuda:0", dtype=dtype)
        waits.clear()
        found = engine.grid(MANY, PROMPTS, POOLINGS, [-1, 0.5])
        counted = dict(waits)
    batches = counted.pop("event")
    return found, sum(counted.values()) / batches


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2", "gemma2"])
def test_vectors_are_those_of_the_cpu(tmp_path, architecture):
    path = tiny_model(tmp_path / "model", architecture)
    found, waits = waits_a_batch(path)
    print(f"{architecture}: {waits} waits a batch")
    assert close(found, grid(path, "cpu"))
    assert waits <= WAITS_A_BATCH


def test_bfloat16_mixes_no_types(tmp_path):
    path = tiny_model(tmp_path / "model")
    found, _ = waits_a_batch(path, "bfloat16")
    wanted = grid(path, "cpu")
    assert all(np.abs(found[key] - wanted[key]).max() <= 0.1 * np.abs(wanted[key]).max() for key in wanted)


# --- faults planted on purpose: (name, what is replaced, by what) ---------------------------------


def ids_stay(monkeypatch):
    plain = Batch.to
    monkeypatch.setattr(Batch, "to", lambda self, device: replace(plain(self, device), ids=self.ids))


def positions_stay(monkeypatch):
    plain = Batch.to
    monkeypatch.setattr(Batch, "to", lambda self, device: replace(plain(self, device), positions=self.positions))


def lengths_stay(monkeypatch):
    plain = Tile.to
    monkeypatch.setattr(Tile, "to", lambda self, device: replace(plain(self, device), lengths=self.lengths))


def spans_stay(monkeypatch):
    plain = Tile.to
    monkeypatch.setattr(Tile, "to", lambda self, device: replace(plain(self, device), spans=self.spans))


def picks_on_the_host(monkeypatch):
    plain = Readout.picks
    monkeypatch.setattr(Readout, "picks", lambda self, tile: plain(self, tile).cpu())


def masks_on_the_host(monkeypatch):
    plain = Readout.masks
    monkeypatch.setattr(Readout, "masks", lambda self, *given, **more: plain(self, *given, **more).cpu())


def item_in_the_loop(monkeypatch):
    plain = Readout.read

    def read(self, tile, states, *given, **more):
        for row in states:
            row.sum().item()
        return plain(self, tile, states, *given, **more)

    monkeypatch.setattr(Readout, "read", read)


def states_in_double(monkeypatch):
    plain = Readout._read
    monkeypatch.setattr(Readout, "_read", lambda self, tile, states, *rest: plain(self, tile, states, *rest).double())


def numpy_without_a_copy(monkeypatch):
    monkeypatch.setattr(
        family_batches, "to_host", lambda found: lambda: {number: parts.numpy() for number, parts in found.items()}
    )


def mask_of_another_type(monkeypatch):
    plain = torch.nn.functional.scaled_dot_product_attention

    def attend(query, key, value, attn_mask=None, **more):
        if attn_mask is None:
            attn_mask = query.new_zeros(query.shape[-2], key.shape[-2])
        return plain(query, key, value, attn_mask=attn_mask.double(), **{**more, "is_causal": False})

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)


def event_of_another_stream(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: None)


CAUGHT = [
    picks_on_the_host, states_in_double, ids_stay, positions_stay, lengths_stay, spans_stay, masks_on_the_host,
    item_in_the_loop, numpy_without_a_copy, mask_of_another_type,
]  # fmt: skip
MISSED = [event_of_another_stream]  # streams are not modelled: every operator ends before the next begins


def is_caught(path, wanted: dict, fault, monkeypatch) -> bool:
    with monkeypatch.context() as patch:
        fault(patch)
        try:
            found, waits = waits_a_batch(path)
        except (RuntimeError, TypeError):
            return True
        return waits > WAITS_A_BATCH or not close(found, wanted)


def test_planted_faults_are_caught(tmp_path, monkeypatch):
    path = tiny_model(tmp_path / "model")
    wanted = grid(path, "cpu")
    assert not is_caught(path, wanted, lambda _: None, monkeypatch), "nothing is planted"
    caught = {fault.__name__: is_caught(path, wanted, fault, monkeypatch) for fault in CAUGHT + MISSED}
    print(caught)
    assert caught == {fault.__name__: fault in CAUGHT for fault in CAUGHT + MISSED}


RECIPE = {"lora": {**SPEC["lora"], "dropout": 0.0}, "dtype": "float32"}


def test_training_is_that_of_the_cpu(tmp_path):
    model, pairs = base_model(tmp_path), write_pairs(tmp_path / "pairs.parquet")
    train_adapter(**call(model, pairs, tmp_path / "cpu", **RECIPE))
    with pretended_gpu():
        train_adapter(**{**call(model, pairs, tmp_path / "gpu", **RECIPE), "device": "cuda:0"})
    cpu, gpu = (pd.read_parquet(tmp_path / place / "training.parquet") for place in ("cpu", "gpu"))
    columns = ["loss", "negatives", "grad_norm"]
    pd.testing.assert_frame_equal(gpu[columns], cpu[columns], rtol=1e-4)
    for name, weight in weights(tmp_path / "cpu", 3).items():
        assert torch.allclose(weights(tmp_path / "gpu", 3)[name], weight, rtol=1e-3, atol=1e-4), name
