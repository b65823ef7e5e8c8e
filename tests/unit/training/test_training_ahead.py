"""Batches made ahead of their step: the same ones, in order, the same losses bit for bit, and no tokenizer shared."""

import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from promptpool.training import rank
from promptpool.training.ahead import LENGTHS, Ahead, with_lengths
from promptpool.training.chunks import by_length
from promptpool.training.rank import train_rank
from promptpool.training.trainer import ContrastiveTrainer
from sentence_transformers import SentenceTransformerTrainer
from tiny_training import base_model, call, same, weights, write_pairs

# Four epochs of six steps, with all that draws random numbers or uses the tokenizer beside the batches.
LONG = {"max_steps": None, "epochs": 4, "steps": [4, 24], "validation": 0.1, "group_by_length": True}
EXACT = ["step", "loss", "accuracy", "negatives", "learning_rate", "grad_norm"]  # the others are seconds


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet", 20)


def numbered(count: int, made: list, end: Exception | None = None):
    for number in range(count):
        made.append((number, threading.current_thread() is threading.main_thread()))
        yield {"number": number}
    if end:
        raise end


def test_batches_keep_their_order_and_the_next_is_made_before_it_is_asked_for():
    made: list = []
    ahead = Ahead(numbered(3, made))
    assert made == []
    assert next(ahead)["number"] == 0
    ahead.settle()
    assert made == [(0, True), (1, False)]  # the first by the caller, no more than one ahead
    assert [batch["number"] for batch in ahead] == [1, 2]
    assert made == [(0, True), (1, False), (2, False)]
    assert next(ahead, None) is None
    ahead.close()


def test_what_fails_in_the_thread_fails_at_its_step():
    ahead = Ahead(numbered(1, [], OSError("the disk is gone")))
    next(ahead)
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    ahead.close()


def test_lengths_that_come_along_cut_the_same_chunks():
    mask = (torch.arange(9) < torch.tensor([[3], [9], [1], [9]])).long()
    batch = {"text_input_ids": torch.randint(9, (4, 9)), "text_attention_mask": mask, "label": torch.zeros(4)}
    known = with_lengths(batch)
    assert known.keys() - batch.keys() == {f"text_{LENGTHS}"} and known[f"text_{LENGTHS}"] == [3, 9, 1, 9]
    side = {name.removeprefix("text_"): values for name, values in known.items() if name != "label"}
    counted = {name: values for name, values in side.items() if name != LENGTHS}
    (one, places, lengths), (other, *rest) = by_length([side, side]), by_length([counted, counted])
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(places, rest[0]) and lengths == rest[1] == [9, 9, 9, 9, 3, 3, 1, 1]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("changes", [{}, {"negatives": "micro_batch", "micro_batch_size": 4}], ids=["batch", "micro"])
def test_losses_and_weights_are_those_of_batches_made_at_their_step(model, pairs, tmp_path, monkeypatch, changes):
    train_rank(**call(model, pairs, tmp_path / "ahead", **LONG, **changes))
    with monkeypatch.context() as patched:
        for name in ("get_batch_samples", "get_train_dataloader"):
            patched.setattr(ContrastiveTrainer, name, getattr(SentenceTransformerTrainer, name))
        train_rank(**call(model, pairs, tmp_path / "plain", **LONG, **changes))
    ahead, plain = (pd.read_parquet(tmp_path / name / "training.parquet")[EXACT] for name in ("ahead", "plain"))
    pd.testing.assert_frame_equal(ahead, plain, check_exact=True)
    assert all(same(weights(tmp_path / "ahead", step), weights(tmp_path / "plain", step)) for step in LONG["steps"])


def test_no_batch_is_made_while_the_model_is_validated_and_no_thread_is_left(model, pairs, tmp_path, monkeypatch):
    making, seen, used = threading.Event(), [], []
    made = Ahead._made

    def slow(self):
        making.set()
        used.append(threading.current_thread() is threading.main_thread())
        time.sleep(0.3)
        batch = made(self)
        making.clear()
        return batch

    validator = rank.validator

    def watched(*args):
        validate = validator(*args)
        return lambda model: (seen.append(making.is_set()), validate(model))[1]

    monkeypatch.setattr(Ahead, "_made", slow)
    monkeypatch.setattr(rank, "validator", watched)
    threads = threading.active_count()
    train_rank(**call(model, pairs, tmp_path / "out", **LONG | {"epochs": 1, "steps": [2, 6]}))
    assert seen == [False] * 3 and used.count(True) == 1 and used.count(False) >= 5
    assert threading.active_count() <= threads
