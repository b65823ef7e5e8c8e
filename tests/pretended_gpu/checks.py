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
from promptpool.embedding.packing import Batch
from promptpool.errors import PromptpoolError
from tiny import TEXTS, tiny_model

CLOSE = 1e-5  # of the largest value
# Beside the copy of the results. Measured: none, by the difference of two sizes, whatever the layers and tiles. What a
# family needs once is copied at its first batch, and the trial of the tree mask waits too, once a model.
WAITS_A_BATCH = 0
PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
FAMILY = {name: PROMPTS[name] for name in ("eol", "sum")}
POOLINGS = ["mean", "last", "eos", "weighted", "max", "concat", "attention", "mean:text"]
LAYERS = [-1, 0.5]
FEW, MANY = ([f"{text} {number}" for number in range(count) for text in TEXTS] for count in (1, 3))


def grid(path, device: str, dtype: str = "float32", prompts: dict = PROMPTS):
    return Embedder.load(str(path), device=device, dtype=dtype).grid(MANY, prompts, POOLINGS, LAYERS)


def close(found: dict, wanted: dict, share: float = CLOSE) -> bool:
    return all(np.abs(found[key] - wanted[key]).max() <= share * np.abs(wanted[key]).max() for key in wanted)


def waits_a_batch(path, prompts: dict = FAMILY, layers: list = LAYERS) -> tuple[dict, float, bool]:
    """One family's grid on the pretended GPU, the host's waits a batch, the one for its results aside, and whether all
    prompts shared a pass.

    What comes once, the trial of the tree mask, the head and the tree's own tensors, is over before the counting
    begins; the rest is a difference of two sizes.
    """
    batches: list[int] = []
    with pretended_gpu(), pytest.MonkeyPatch.context() as patch:
        engine = Embedder.load(str(path), device="cuda:0", dtype="float32", token_budget=120)
        engine.grid(FEW, prompts, POOLINGS, layers)
        plain = passes.pack_trunks

        def pack(*given, **more):
            batch = plain(*given, **more)
            batches.append(len(batch.tiles))
            return batch

        patch.setattr(passes, "pack_trunks", pack)
        counted = []
        for texts in (FEW, MANY):
            waits.clear(), batches.clear()
            found = engine.grid(texts, prompts, POOLINGS, layers)
            counted.append((waits.total() - waits["event"], len(batches)))
        assert max(batches) > 1  # else nothing is said of tiles
    (few, fewer), (many, more) = counted
    return found, (many - few) / (more - fewer), engine.batches.takes_trees


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2", "gemma2"])
def test_vectors_are_those_of_the_cpu(tmp_path, architecture):
    path = tiny_model(tmp_path / "model", architecture)
    with pretended_gpu():
        found = grid(path, "cuda:0")
    assert close(found, grid(path, "cpu"))


@pytest.mark.parametrize("layers", [[-1], [-1, 0.5, 0]], ids=["one layer", "three layers"])
def test_the_host_waits_for_a_batch_only_when_its_vectors_come(tmp_path, layers):
    _, waits, one_pass = waits_a_batch(tiny_model(tmp_path / "model"), layers=layers)
    assert one_pass and waits == WAITS_A_BATCH


def test_so_it_does_with_a_pass_for_each_prompt(tmp_path):
    _, waits, one_pass = waits_a_batch(tiny_model(tmp_path / "model", "bloom"))
    assert not one_pass and waits <= 2 * len(FAMILY)  # what the model itself copies in each pass


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


def of_the_tiles(monkeypatch, name: str):
    plain = Batch.to

    def move(self, device):
        tiles = [
            replace(there, **{name: getattr(here, name)})
            for here, there in zip(self.tiles, plain(self, device).tiles, strict=True)
        ]
        return replace(plain(self, device), tiles=tiles)

    monkeypatch.setattr(Batch, "to", move)


def lengths_stay(monkeypatch):
    of_the_tiles(monkeypatch, "lengths")


def spans_stay(monkeypatch):
    of_the_tiles(monkeypatch, "spans")


def pageable_memory(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)


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
    monkeypatch.setattr(family_batches, "to_host", lambda tensors: lambda: [there.numpy() for there in tensors])


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
            found, waits, one_pass = waits_a_batch(path)
        except (RuntimeError, TypeError, PromptpoolError):
            return True
        return not one_pass or waits > WAITS_A_BATCH or not close(found, wanted)


def nothing(monkeypatch):
    """The control: what runs without a fault is not caught."""


def test_planted_faults_are_caught(tmp_path):
    path = tiny_model(tmp_path / "model")
    wanted = grid(path, "cpu", prompts=FAMILY)
    faults = [nothing, *CAUGHT, *MISSED]
    caught = {fault.__name__: is_caught(path, wanted, fault) for fault in faults}
    assert caught == {fault.__name__: fault in CAUGHT for fault in faults}
