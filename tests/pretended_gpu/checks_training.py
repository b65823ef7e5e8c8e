"""Training on a pretended GPU: equal to the CPU, also after a lack of memory and a resume. Faults are planted in it."""

from pretended_gpu.device import out_of_memory, pretended_gpu  # isort: skip  (before torch)

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from promptpool.embedding.token_budget import TokenBudget
from promptpool.errors import PromptpoolError
from promptpool.training import rank as stage
from promptpool.training.losses import InfoNCE
from promptpool.training.rank import train_rank
from promptpool.training.trainer import ContrastiveTrainer
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.losses import gradcache
from tiny_training import SPEC, base_model, call, sidecar, weights, write_pairs

PLAIN = {"lora": {**SPEC["lora"], "dropout": 0.0}, "dtype": "float32"}
DROPOUT = {"lora": {**SPEC["lora"], "dropout": 0.2}, "dtype": "float32"}
COLUMNS = ["loss", "negatives", "grad_norm"]
# Calls of `silu`, of two layers: the trial of a row has six, the probe of memory two, then each step its own.
SECOND_STEP = 10
# A step's backward has two of `_softmax_backward_data`; the second finds the last layer's gradients in place.
SECOND_BACKWARD = 3


class Trained:
    """Trainings of one model on the same pairs, each in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder, self.made = folder, 0
        self.model, self.pairs = base_model(folder), write_pairs(folder / "pairs.parquet")

    def on(self, device: str, out: Path | None = None, **changes) -> Path:
        if out is None:
            self.made += 1
            out = self.folder / str(self.made)
        train_rank(**{**call(self.model, self.pairs, out, **changes), "device": device})
        return out

    def interrupted(self, **changes) -> Path:
        """Stopped at the second step by a device without room, and gone on with."""
        self.made += 1
        out = self.folder / str(self.made)
        with out_of_memory("silu", SECOND_STEP, math.inf), pytest.raises(PromptpoolError) as stopped:
            self.on("cuda:0", out, **changes)
        assert "out of memory at step 2" in str(stopped.value) and "state of step 1 is kept" in str(stopped.value)
        return self.on("cuda:0", out, **changes)


def alike(one: Path, other: Path, step: int = 3) -> bool:
    """The same log and the same weights, rounding aside."""
    a, b = (pd.read_parquet(out / "training.parquet")[COLUMNS].to_numpy() for out in (one, other))
    if a.shape != b.shape or not torch.allclose(torch.tensor(a), torch.tensor(b), rtol=1e-4):
        return False
    ours, theirs = weights(one, step), weights(other, step)
    return all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4) for name in theirs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    return Trained(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def cpu(trained) -> Path:
    return trained.on("cpu", **PLAIN)


@pytest.fixture(scope="module")
def dropped(trained) -> Path:
    """On the device, with dropout, in one go."""
    with pretended_gpu():
        return trained.on("cuda:0", **DROPOUT)


# --- scenarios: each says whether the device trained what it should have --------------------------


def in_one_go(trained, cpu, dropped) -> bool:
    """Its texts in one row, those of the CPU padded."""
    out = trained.on("cuda:0", **PLAIN)
    assert [sidecar(path)["packed"] for path in (out, cpu)] == [True, False]
    return alike(out, cpu)


def no_room_forwards(trained, cpu, dropped) -> bool:
    with out_of_memory("silu", SECOND_STEP) as full:
        out = trained.on("cuda:0", **PLAIN)
    assert full.raised == 1
    return alike(out, cpu)


def no_room_backwards(trained, cpu, dropped) -> bool:
    with out_of_memory("_softmax_backward_data", SECOND_BACKWARD) as full:
        out = trained.on("cuda:0", **PLAIN)
    assert full.raised == 1
    return alike(out, cpu)


def resumed(trained, cpu, dropped) -> bool:
    return alike(trained.interrupted(**PLAIN), cpu)


def resumed_with_dropout(trained, cpu, dropped) -> bool:
    return alike(trained.interrupted(**DROPOUT), dropped)


def computed_again(trained, cpu, dropped) -> bool:
    """Chunks whose graphs are kept, and the same chunks computed again in the backward, draw one dropout."""
    outs = []
    for live in (1 << 20, 0):

        def loss_of(*given, live: int = live, plain=stage.loss_of, **more) -> InfoNCE:
            loss = plain(*given, **more)
            loss.live, loss.chunk = TokenBudget(live), TokenBudget(256)
            loss.live_tokens, loss.mini_batch_num_tokens = live, 256
            return loss

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "loss_of", loss_of)
            outs.append(trained.on("cuda:0", **DROPOUT, steps=[1], max_steps=1))
    return alike(*outs, step=1)


SCENARIOS = [in_one_go, no_room_forwards, no_room_backwards, resumed, resumed_with_dropout, computed_again]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
def test_the_device_trains_what_it_should(trained, cpu, dropped, scenario):
    with pretended_gpu():
        assert scenario(trained, cpu, dropped)


# --- faults planted on purpose --------------------------------------------------------------------


def random_state_of_the_host_alone(monkeypatch):
    """A resume that leaves the device's random numbers as they are."""
    plain = ContrastiveTrainer._load_rng_state

    def load(self, checkpoint):
        before = torch.cuda.get_rng_state()
        plain(self, checkpoint)
        torch.cuda.set_rng_state(before)

    monkeypatch.setattr(ContrastiveTrainer, "_load_rng_state", load)


def dropout_of_another_draw(monkeypatch):
    """A chunk computed again with the host's random state and not with the device's."""
    monkeypatch.setattr(gradcache, "get_device_states", lambda *_: ([], []))


def lack_of_memory_swallowed(monkeypatch):
    plain = SentenceTransformerTrainer.training_step

    def step(self, model, inputs, *given, **more):
        try:
            return plain(self, model, inputs, *given, **more)
        except torch.OutOfMemoryError:
            return torch.zeros((), device="cuda:0")

    monkeypatch.setattr(SentenceTransformerTrainer, "training_step", step)


def gradients_of_the_failed_step_kept(monkeypatch):
    plain = InfoNCE.shrink

    def shrink(self):
        self.model.zero_grad = lambda *_, **__: self.model.__dict__.pop("zero_grad", None)  # this once
        return plain(self)

    monkeypatch.setattr(InfoNCE, "shrink", shrink)


def optimizer_left_on_the_host(monkeypatch):
    plain = ContrastiveTrainer._load_optimizer_and_scheduler

    def load(self, checkpoint):
        plain(self, checkpoint)
        for state in self.optimizer.state.values():
            state["exp_avg"] = state["exp_avg"].cpu()

    monkeypatch.setattr(ContrastiveTrainer, "_load_optimizer_and_scheduler", load)


def optimizer_not_resumed(monkeypatch):
    monkeypatch.setattr(ContrastiveTrainer, "_load_optimizer_and_scheduler", lambda self, checkpoint: None)


def facts_read_before_they_arrive(monkeypatch):
    plain = InfoNCE.take_facts
    monkeypatch.setattr(InfoNCE, "take_facts", lambda self: plain(self).to("cpu", non_blocking=True))


def labels_on_the_host(monkeypatch):
    plain = InfoNCE._loss
    monkeypatch.setattr(InfoNCE, "_loss", lambda self, reps, labels, back: plain(self, reps, labels.cpu(), back))


def tf32_in_the_loss(monkeypatch):
    plain = InfoNCE._loss

    def loss(self, *given):
        torch.set_float32_matmul_precision("high")
        return plain(self, *given)

    monkeypatch.setattr(InfoNCE, "_loss", loss)


CAUGHT = [
    (random_state_of_the_host_alone, resumed_with_dropout), (dropout_of_another_draw, computed_again),
    (lack_of_memory_swallowed, no_room_forwards), (gradients_of_the_failed_step_kept, no_room_backwards),
    (optimizer_left_on_the_host, resumed), (optimizer_not_resumed, resumed),
    (facts_read_before_they_arrive, in_one_go), (labels_on_the_host, in_one_go),
]  # fmt: skip
MISSED = [(tf32_in_the_loss, in_one_go)]  # products are the CPU's, exact whatever the device would round


@pytest.mark.parametrize(("fault", "scenario"), CAUGHT + MISSED, ids=lambda one: one.__name__)
def test_planted_faults(trained, cpu, dropped, monkeypatch, fault, scenario):
    fault(monkeypatch)
    with pretended_gpu():
        try:
            caught = not scenario(trained, cpu, dropped)
        except (RuntimeError, ArithmeticError, PromptpoolError) as error:
            print(f"{fault.__name__}: {error}")
            caught = True
    torch.set_float32_matmul_precision("highest")
    assert caught == ((fault, scenario) in CAUGHT)
