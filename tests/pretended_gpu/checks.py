"""The engine on a pretended GPU gives what it gives on a CPU. tests/unit/embedding/test_pretended_gpu.py runs this."""

from pretended_gpu.device import Event, pretended_gpu, waits  # isort: skip  (before torch)

from dataclasses import replace

import numpy as np
import pytest
import torch
from promptpool.embedding import batches as family_batches
from promptpool.embedding import forward_passes as passes
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.family_pooling import Readout
from promptpool.embedding.packing import Batch, Tile
from promptpool.errors import PromptpoolError
from tiny import TEXTS, tiny_model

CLOSE = 1e-5  # of the largest value
# Measured: 25, and none for a batch, by the difference of two sizes (two layers, two prompts, eight poolings). A
# family's head has 2, and the trial of the tree mask, once a model, 106. A change that takes waits out lowers this.
WAITS_A_TILE = 25
PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
FAMILY = {name: PROMPTS[name] for name in ("eol", "sum")}
POOLINGS = ["mean", "last", "eos", "weighted", "max", "concat", "attention", "mean:text"]
LAYERS = [-1, 0.5]
FEW, MANY = ([f"{text} {number}" for number in range(count) for text in TEXTS] for count in (1, 3))


def grid(path, device: str, dtype: str = "float32", prompts: dict = PROMPTS):
    return Embedder.load(str(path), device=device, dtype=dtype).grid(MANY, prompts, POOLINGS, LAYERS)


def close(found: dict, wanted: dict, share: float = CLOSE) -> bool:
    return all(np.abs(found[key] - wanted[key]).max() <= share * np.abs(wanted[key]).max() for key in wanted)


def waits_a_tile(path) -> tuple[dict, float]:
    """One family's grid on the pretended GPU, and the host's waits a tile, the one for each batch's results aside.

    What comes once, the trial of the tree mask and the head, is over before the counting begins; the rest is a
    difference of two sizes.
    """
    tiles: list[int] = []
    with pretended_gpu(), pytest.MonkeyPatch.context() as patch:
        engine = Embedder.load(str(path), device="cuda:0", dtype="float32", token_budget=120)
        engine.grid(FEW, FAMILY, POOLINGS, LAYERS)
        plain = passes.pack_trunks

        def pack(*given, **more):
            batch = plain(*given, **more)
            tiles.append(len(batch.tiles))
            return batch

        patch.setattr(passes, "pack_trunks", pack)
        counted = []
        for texts in (FEW, MANY):
            waits.clear(), tiles.clear()
            found = engine.grid(texts, FAMILY, POOLINGS, LAYERS)
            counted.append((waits.total() - waits["event"], sum(tiles)))
    (few, fewer), (many, more) = counted
    return found, (many - few) / (more - fewer)


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2", "gemma2"])
def test_vectors_are_those_of_the_cpu(tmp_path, architecture):
    path = tiny_model(tmp_path / "model", architecture)
    with pretended_gpu():
        found = grid(path, "cuda:0")
    assert close(found, grid(path, "cpu"))


def test_the_host_waits_so_often_a_tile(tmp_path):
    _, waits = waits_a_tile(tiny_model(tmp_path / "model"))
    assert waits == WAITS_A_TILE


def test_bfloat16_mixes_no_types(tmp_path):
    path = tiny_model(tmp_path / "model")
    with pretended_gpu():
        found = grid(path, "cuda:0", "bfloat16")
    assert close(found, grid(path, "cpu"), 0.1)


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


def read_before_it_arrives(monkeypatch):
    monkeypatch.setattr(Event, "synchronize", lambda self: waits.update(event=1))


def event_of_another_stream(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: None)


def source_overwritten_too_soon(monkeypatch):
    """The host's ids change while their copy to the device is under way."""
    plain = Batch.to

    def move(self, device):
        there = plain(self, device)
        self.ids.zero_()
        return there

    monkeypatch.setattr(Batch, "to", move)


CAUGHT = [
    picks_on_the_host, states_in_double, ids_stay, positions_stay, lengths_stay, spans_stay, masks_on_the_host,
    item_in_the_loop, numpy_without_a_copy, mask_of_another_type, read_before_it_arrives,
]  # fmt: skip
# Streams are not modelled: every operator ends before the next begins, and a copy to the device is there at once.
MISSED = [event_of_another_stream, source_overwritten_too_soon]


def is_caught(path, wanted: dict, fault) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        try:
            found, waits = waits_a_tile(path)
        except (RuntimeError, TypeError, PromptpoolError):
            return True
        return waits > WAITS_A_TILE or not close(found, wanted)


def nothing(monkeypatch):
    """The control: what runs without a fault is not caught."""


def test_planted_faults_are_caught(tmp_path):
    path = tiny_model(tmp_path / "model")
    wanted = grid(path, "cpu", prompts=FAMILY)
    faults = [nothing, *CAUGHT, *MISSED]
    caught = {fault.__name__: is_caught(path, wanted, fault) for fault in faults}
    assert caught == {fault.__name__: fault in CAUGHT for fault in faults}
