"""Adapters: every named step, the same from the same seed, what they cost and what they tell."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.templates import Template
from promptpool.training import lora
from promptpool.training.hard_negatives import ids
from promptpool.training.lora import bytes_a_token, learning, live_tokens, targets_of, tunable_model
from promptpool.training.losses import InfoNCE
from promptpool.training.rank import train_rank
from promptpool.training.tracking import TRAINING_COLUMNS, VALIDATION
from promptpool.training.trainer import ContrastiveTrainer
from tiny_training import SPEC, TEMPLATE, base_model, call, same, same_steps, weights, write_pairs
from transformers import AutoModel

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet")


@pytest.fixture(scope="module")
def trained(model, pairs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "tuned"
    train_rank(**call(model, pairs, out))
    return out


def log(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "training.parquet")


def test_every_named_step_is_kept(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["step-1", "step-3", "tensorboard", "training.parquet"]
    for step in (1, 3):
        assert (trained / f"step-{step}" / "adapter_config.json").exists()
        assert all(tensor.dtype == torch.float32 for tensor in weights(trained, step).values())


def test_the_targets_are_in_one_order(trained):
    """peft keeps them in a set, whose order is another in each process."""
    targets = json.loads((trained / "step-3" / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(SPEC["lora"]["target_modules"])


def test_the_steps_are_unlike_each_other(trained):
    assert not same(weights(trained, 1), weights(trained, 3))


def test_the_log_has_a_row_a_step_and_finite_figures(trained):
    table = log(trained)
    assert list(table.columns) == TRAINING_COLUMNS
    assert table["step"].tolist() == [1, 2, 3]
    assert np.isfinite(table.to_numpy(dtype=float)).all() and (table["grad_norm"] > 0).all()
    assert (table["negatives"] == 7).all() and table["accuracy"].between(0, 1).all()
    assert (table["tokens_per_second"] > 0).all() and (table["seconds"] > 0).all()


def test_the_scratch_is_gone_and_the_provenance_is_there(trained):
    assert sorted(path.name for path in trained.parent.iterdir()) == ["tuned", "tuned.meta.json"]
    told = json.loads((trained.parent / "tuned.meta.json").read_text())
    assert (told["seed"], told["pairs"], told["spec"]["template"]) == (7, 48, TEMPLATE)
    assert (told["dtype"], told["ranks"], told["max_steps"], told["best_step"]) == ("float32", 1, 3, None)


@pytest.mark.parametrize("step", [1, 3])
def test_an_adapter_loads_whole_and_changes_vectors(model, trained, step):
    texts = ["the oven and the bread", "a sail"]
    base = Embedder.load(str(model), device="cpu").encode(texts, TEMPLATE, "last")
    tuned = Embedder.load(str(model), str(trained / f"step-{step}"), device="cpu").encode(texts, TEMPLATE, "last")
    assert np.abs(tuned - base).max() > 1e-3


def test_the_same_seed_gives_the_same_adapter_to_the_bit(model, pairs, trained, tmp_path):
    train_rank(**call(model, pairs, tmp_path / "again"))
    for step in (1, 3):
        assert same(weights(tmp_path / "again", step), weights(trained, step))


def test_another_seed_gives_another_adapter(model, pairs, trained, tmp_path):
    train_rank(**call(model, pairs, tmp_path / "other", seed=8))
    assert not same(weights(tmp_path / "other", 3), weights(trained, 3))


def test_training_lowers_the_loss(model, pairs, tmp_path):
    changes = {"max_steps": 12, "steps": [12], "batch_size": 24, "learning_rate": 0.02}
    train_rank(**call(model, pairs, tmp_path / "long", **changes))
    table = log(tmp_path / "long")
    assert table["loss"].tail(4).mean() < table["loss"].head(2).mean()
    assert table["accuracy"].tail(4).mean() > table["accuracy"].head(2).mean()


def test_epochs_count_steps(model, pairs, tmp_path):
    train_rank(**call(model, pairs, tmp_path / "x", max_steps=None, epochs=1.5, steps=[2, 9]))
    assert log(tmp_path / "x")["step"].tolist() == list(range(1, 10))  # 48 pairs, 8 a step: 6 an epoch


def test_a_step_that_the_epochs_do_not_reach_is_one_line(model, pairs, tmp_path):
    wanted = "step 10 is beyond the 9 steps that 1.5 epochs of 6 steps make; remove it from steps or raise epochs"
    with pytest.raises(PromptpoolError, match=wanted):
        train_rank(**call(model, pairs, tmp_path / "x", max_steps=None, epochs=1.5, steps=[10]))


def test_fewer_pairs_than_a_batch_is_one_line(model, pairs, tmp_path):
    with pytest.raises(PromptpoolError) as caught:
        train_rank(**call(model, pairs, tmp_path / "x", batch_size=100))
    told = str(caught.value)
    assert "48 pairs are fewer than one batch of 100; lower batch_size or make more pairs" in told and "\n" not in told


def test_memory_settings_change_nothing_but_rounding(model, pairs, tmp_path):
    """One pass, the cache with two chunk sizes, and activations computed again: the same loss at every step."""
    changes = {"lora": {**SPEC["lora"], "dropout": 0.0}}
    ways = [{}, {"micro_batch_size": 3}, {"micro_batch_size": 8}, {"gradient_checkpointing": True}]
    for number, execution in enumerate(ways):
        train_rank(**call(model, pairs, tmp_path / str(number), execution, **changes))
    same_steps([tmp_path / str(number) for number in range(len(ways))], rtol=1e-4)


def test_a_step_that_does_not_fit_is_done_in_smaller_parts(model, pairs, tmp_path):
    """The device refuses twice; the step is done again with less at once, and the result stays."""
    refused = []
    kept = ContrastiveTrainer.compute_loss

    def compute_loss(self, *args, **kwargs):
        loss = kept(self, *args, **kwargs)
        if self.state.global_step == 1 and len(refused) < 2:
            refused.append(
                (self.loss.live_tokens, self.loss.live_tokens - self.loss._left)
            )  # the room, and what it held
            raise torch.OutOfMemoryError("no room")
        return loss

    changes = {"lora": {**SPEC["lora"], "dropout": 0.0}}
    train_rank(**call(model, pairs, tmp_path / "whole", **changes))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ContrastiveTrainer, "compute_loss", compute_loss)
        train_rank(**call(model, pairs, tmp_path / "parts", **changes))
    assert refused[1][0] == refused[0][1] // 2 and refused[1][1] <= refused[1][0]
    columns = ["loss", "grad_norm"]
    pd.testing.assert_frame_equal(log(tmp_path / "parts")[columns], log(tmp_path / "whole")[columns], rtol=1e-4)


def test_a_step_that_fits_in_no_way_is_one_line(model, pairs, tmp_path, monkeypatch):
    def compute_loss(self, *args, **kwargs):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(ContrastiveTrainer, "compute_loss", compute_loss)
    with pytest.raises(PromptpoolError, match="x: out of memory at step 1; lower micro_batch_size"):
        train_rank(**call(model, pairs, tmp_path / "x"))


def test_micro_batches_see_fewer_negatives_than_the_batch(model, pairs, tmp_path):
    for negatives in ("batch", "micro_batch"):
        changes = {"negatives": negatives, "micro_batch_size": 2, "max_steps": 1, "steps": [1], "learning_rate": 1e-6}
        train_rank(**call(model, pairs, tmp_path / negatives, **changes))
    batch, micro = (log(tmp_path / name).iloc[0] for name in ("batch", "micro_batch"))
    assert (batch["negatives"], micro["negatives"]) == (7, 1)
    assert micro["loss"] < batch["loss"]


def test_equal_texts_are_no_negatives(model, pairs, tmp_path):
    table = pd.read_parquet(pairs)
    twice = pd.concat([table, table], ignore_index=True)
    twice.to_parquet(tmp_path / "twice.parquet")
    counts = {}
    for masked in (True, False):
        out = tmp_path / str(masked)
        changes = {"mask_duplicates": masked, "batch_size": 96, "steps": [1], "max_steps": 1}
        train_rank(**call(model, tmp_path / "twice.parquet", out, **changes))
        counts[masked] = log(out)["negatives"][0]
    assert counts == {True: 94, False: 95}


def test_identities_are_equal_where_texts_are():
    table = pd.DataFrame({"text": ["a", "b", "a"], "positive": ["b", "c", "c"]})
    numbers = ids(table)
    assert numbers.shape == (3, 2)
    assert numbers[0, 0] == numbers[2, 0] != numbers[1, 0] == numbers[0, 1]
    assert numbers[1, 1] == numbers[2, 1]


def test_pair_sets_are_mixed_by_weight(model, pairs, tmp_path):
    table = pd.read_parquet(pairs)
    table["text"] = table["text"] + " and so on"
    table.to_parquet(tmp_path / "more.parquet")
    seen = []
    with pytest.MonkeyPatch.context() as patched:
        kept = ContrastiveTrainer.training_step
        patched.setattr(ContrastiveTrainer, "training_step",
                        lambda self, model, inputs, *rest: seen.append(inputs["label"].clone())
                        or kept(self, model, inputs, *rest))  # fmt: skip
        job = call(model, pairs, tmp_path / "x", weights=[1, 3], max_steps=12, steps=[12])
        train_rank(**{**job, "pairs": [str(pairs), str(tmp_path / "more.parquet")]})
    anchors = torch.cat(seen)[:, 0]
    assert len(anchors) == 96 and (anchors < 48).sum() == 24


def test_a_weighed_set_without_pairs_is_one_line(model, pairs, tmp_path):
    pd.read_parquet(pairs).head(0).to_parquet(tmp_path / "none.parquet")
    job = call(model, pairs, tmp_path / "x", weights=[1, 3])
    with pytest.raises(PromptpoolError, match="pairs: set 2 of 2 has no pairs to train on; lower validation or remove"):
        train_rank(**{**job, "pairs": [str(pairs), str(tmp_path / "none.parquet")]})


@pytest.mark.parametrize("pooling", ["mean", "eos", "weighted", "concat"])
def test_every_trainable_pooling_trains(model, pairs, tmp_path, pooling):
    train_rank(**call(model, pairs, tmp_path / "x", pooling=pooling, max_steps=1, steps=[1]))
    assert any(tensor.abs().max() > 0 for name, tensor in weights(tmp_path / "x", 1).items() if "lora_B" in name)


def test_joint_tokenization_merges_across_the_seam_where_composed_does_not(model, pairs, tmp_path):
    table = pd.read_parquet(pairs)
    table["text"] = table["text"].str.removeprefix("th")  # the prompt gives it back: "th" + "e bread"
    table.to_parquet(tmp_path / "pairs.parquet")
    adapters = []
    for way in ("joint", "composed"):
        job = call(model, tmp_path / "pairs.parquet", tmp_path / way, tokenization=way, max_steps=1, steps=[1])
        train_rank(**{**job, "template": "th{text}"})
        adapters.append(weights(tmp_path / way, 1))
    assert not same(*adapters)


def tunable(model: Path, dtype: torch.dtype = torch.float32, **changes):
    return tunable_model(
        str(model), Template.parse("cluster", TEMPLATE), {**SPEC, **changes}, 16, revision=None,
        device=torch.device("cpu"), dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_is_frozen_and_what_learns_is_float32(model, dtype):
    tuned = tunable(model, dtype)
    learns = learning(tuned)
    assert learns and all("lora_" in name and weight.dtype == torch.float32 for name, weight in learns.items())
    assert {weight.dtype for name, weight in tuned.named_parameters() if name not in learns} == {dtype}
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = InfoNCE(tuned, 0.1, live_tokens=10**6)(
            [tuned.preprocess(["the bread", "a sail"]), tuned.preprocess(["bread", "sails"])],
            torch.arange(4).view(2, 2),
        )
    loss.backward()
    assert loss.dtype == torch.float32
    assert {weight.grad.dtype for weight in learns.values()} == {torch.float32}


def test_bfloat16_trains(model, pairs, tmp_path):
    train_rank(**call(model, pairs, tmp_path / "half", dtype="bfloat16"))
    train_rank(**call(model, pairs, tmp_path / "full"))
    half, full = (log(tmp_path / name)["loss"] for name in ("half", "full"))
    assert np.allclose(half, full, rtol=0.1) and (half != full).any()
    assert json.loads((tmp_path / "half.meta.json").read_text())["dtype"] == "bfloat16"


def test_no_lm_head_is_computed(model):
    """No module is one, and no matrix product of the forward is as wide as the vocabulary."""
    tuned = tunable(model)
    assert not [name for name, _ in tuned.named_modules() if "lm_head" in name or "embed_out" in name]
    widths = set()
    for module in tuned.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, __, output: widths.add(output.shape[-1]))
    tuned(tuned.preprocess(["the bread"]))
    assert widths and tuned.transformers_model.config.vocab_size not in widths


def test_the_memory_of_a_token_grows_with_the_layers(tmp_path):
    device = torch.device("cpu")
    small, large = (tunable(base_model(tmp_path / str(layers), layers=layers)) for layers in (2, 8))
    one, other = (bytes_a_token(tuned, device) for tuned in (small, large))
    assert 3 < other / one < 4.5
    assert live_tokens(large, device) < live_tokens(small, device)
    state = torch.get_rng_state()
    bytes_a_token(small, device)
    assert torch.equal(state, torch.get_rng_state())  # measuring draws nothing


@pytest.mark.parametrize("limited", [False, True], ids=["machine", "control group"])
def test_memory_that_others_hold_is_not_counted(tmp_path, monkeypatch, limited):
    (tmp_path / "meminfo").write_text("MemTotal: 999999999 kB\nMemAvailable:  2000000 kB\n")
    (tmp_path / "max").write_text(f"{3 * 10**9}" if limited else "max\n")
    (tmp_path / "current").write_text(f"{2 * 10**9}\n")
    monkeypatch.setattr(lora, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(lora, "CONTROL_GROUPS", [(tmp_path / "max", tmp_path / "current")])
    monkeypatch.setattr(lora.os, "cpu_count", torch.get_num_threads)
    assert lora.memory(torch.device("cpu")) == (10**9 if limited else 2_000_000 * 1024)


def test_no_memory_left_is_a_training_that_computes_everything_twice(model, pairs, tmp_path, monkeypatch):
    changes = {"lora": {**SPEC["lora"], "dropout": 0.0}}
    train_rank(**call(model, pairs, tmp_path / "room", **changes))
    monkeypatch.setattr(lora, "memory", lambda device: 0)
    train_rank(**call(model, pairs, tmp_path / "none", **changes))
    columns = ["loss", "grad_norm"]
    pd.testing.assert_frame_equal(log(tmp_path / "none")[columns], log(tmp_path / "room")[columns], rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "execution", "told"),
    [
        ({"quantize": "4bit"}, {}, "quantize: 4bit needs a GPU, and this runs on cpu; write null"),
        ({}, {"attention": "flash_attention_2"}, "flash_attention_2 needs a GPU, and this runs on cpu; write sdpa"),
        ({}, {"tracking": {"tensorboard": False, "wandb": "mine"}}, "the package wandb is not installed; pip install"),
        (
            {"lora": {**SPEC["lora"], "target_modules": ["nope"]}},
            {},
            "lora.target_modules: no layer is called nope; this model has down_proj, gate_proj, k_proj",
        ),
    ],
)
def test_what_this_machine_or_model_has_not_is_one_line(model, pairs, tmp_path, changes, execution, told):
    with pytest.raises(PromptpoolError, match=told) as caught:
        train_rank(**call(model, pairs, tmp_path / "x", execution, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, tag, value) of a folder's one event file, read by the format: length, its CRC, an Event, its CRC."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.iterdir()
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        content = content[16 + length :]
    return found


def test_tensorboard_has_every_figure_of_every_step(trained):
    table = log(trained)
    found = {(step, tag): value for step, tag, value in events(trained / "tensorboard")}
    assert len(found) == 3 * (len(TRAINING_COLUMNS) - 1)
    for row in table.to_dict("records"):
        for name in TRAINING_COLUMNS[1:]:
            assert found[row["step"], f"train/{name}"] == pytest.approx(row[name], rel=1e-6)


def test_tensorboard_can_be_switched_off(model, pairs, tmp_path):
    tracking = {"tracking": {"tensorboard": False, "wandb": None}}
    train_rank(**call(model, pairs, tmp_path / "x", tracking, steps=[1], max_steps=1))
    assert not (tmp_path / "x" / "tensorboard").exists()


def test_the_bar_shows_loss_and_speed(model, pairs, tmp_path, capsys):
    train_rank(**call(model, pairs, tmp_path / "x"))
    told = capsys.readouterr().err
    assert "x: 100%" in told and "loss=" in told and "tokens/s=" in told and "3/3" in told


VALIDATED = {"validation": 0.3, "steps": [2, 4], "max_steps": 4}


@pytest.fixture(scope="module")
def validated(model, pairs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("validated") / "tuned"
    train_rank(**call(model, pairs, out, **VALIDATED))
    return out


def test_accuracy_is_measured_at_the_start_and_at_each_checkpoint(validated):
    table = pd.read_parquet(validated / "validation.parquet")
    assert list(table.columns) == VALIDATION and table["step"].tolist() == [0, 2, 4]
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
    assert table["n"].nunique() == 1 and table["n"][0] > 5
    assert log(validated)["step"].tolist() == [1, 2, 3, 4]


def test_the_best_step_is_recorded(validated):
    table = pd.read_parquet(validated / "validation.parquet").set_index("step")
    told = json.loads((validated / "best_step.json").read_text())
    assert told["best_step"] == table["accuracy"][[2, 4]].idxmax()
    assert told["accuracy"] == table["accuracy"][told["best_step"]]
    sidecar = json.loads((validated.parent / "tuned.meta.json").read_text())
    assert sidecar["best_step"] == told["best_step"] and sidecar["held_out"] == table["n"][0]
    assert sidecar["held_out"] + sidecar["pairs"] <= 48
    assert sidecar["text_lengths"]["anchors"]["texts"] == sidecar["pairs"]
    assert sidecar["text_lengths"]["held-out pairs"]["texts"] == 2 * sidecar["held_out"]


def test_validating_changes_no_step(model, pairs, validated, tmp_path):
    """The same training pairs without being judged give the same adapter: judging draws nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("promptpool.training.rank.validator", lambda *_: None)
        train_rank(**call(model, pairs, tmp_path / "x", **VALIDATED))
    assert same(weights(tmp_path / "x", 4), weights(validated, 4))


@pytest.mark.parametrize("names", [["q_proj", "vproj"], ["qkv_proj", "down_proj"], ["nope"]])
def test_every_target_must_be_a_layer_of_the_model(tmp_path, names):
    network = AutoModel.from_pretrained(base_model(tmp_path))
    with pytest.raises(PromptpoolError, match="no layer is called "):
        targets_of(network, names, "model")


def test_all_linear_is_every_linear_layer(tmp_path):
    network = AutoModel.from_pretrained(base_model(tmp_path))
    tuned = get_peft_model(network, LoraConfig(target_modules=targets_of(network, ["all-linear"], "model")))
    adapted = {name.split(".")[-4] for name, _ in tuned.named_parameters() if "lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_a_state_that_cannot_be_written_leaves_the_interpreter_whole(tmp_path):
    """CPython 3.12.0 and 3.12.1 crash where an error keeps a view of a BytesIO (python/cpython issue 111049)."""
    program = """
import gc, sys
from pathlib import Path
from promptpool.training.trainer import write_state

def fails():
    try:
        write_state({}, Path(sys.argv[1]))
    except OSError as error:
        kept = error

fails()
gc.collect()
print("whole")
"""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, tmp_path / "no folder" / "state"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "whole\n", "")
