"""Adapters: every named step, the same from the same seed, and the same after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.sentence_model import sentence_model
from promptpool.templates import Template
from promptpool.training import finite_losses, loss_of, train_adapter
from safetensors.torch import load_file
from tiny import tiny_model
from tiny_study import sentences

TEMPLATE = 'This sentence: "{text}" belongs to:'
SPEC = {
    "model": "small", "pairs": ["halves"], "prompt": "cluster", "pooling": "last", "steps": [1, 3], "max_steps": 3,
    "batch_size": 8, "micro_batch_size": None, "negatives": "batch", "learning_rate": 0.01, "warmup_steps": 0,
    "temperature": 0.05, "weight_decay": 0.0, "seed": 7, "tokenization": "composed", "max_text_tokens": 16,
    "epochs": None, "margin": 0.0, "symmetric": False, "mask_duplicates": True, "group_by_length": False,
    "validation": 0, "quantize": None, "dtype": "auto", "weights": None,
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.05, "target_modules": ["q_proj", "v_proj", "down_proj"]},
}  # fmt: skip
CHILD = """
import json, sys
import torch
from promptpool.training import train_adapter
torch.set_num_threads(1)
train_adapter(**json.loads(sys.argv[1]))
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums in one order: what makes a CPU's training the same to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    table = sentences(9, 16)["text"].to_frame()
    table["positive"] = table["text"].str.replace("the", "some other")
    table.assign(style="halves", source_id=table.index.astype(str)).to_parquet(path)
    return path


def call(model: Path, pairs: Path, out: Path, **changes: object) -> dict:
    return {
        "pairs": [str(pairs)], "out": str(out), "model": str(model), "revision": None, "spec": {**SPEC, **changes},
        "template": TEMPLATE, "scratch": str(out.with_name(out.name + ".scratch")), "device": "cpu",
    }  # fmt: skip


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(out / f"step-{step}" / "adapter_model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(model, pairs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "tuned"
    train_adapter(**call(model, pairs, out))
    return out


def test_every_named_step_is_kept(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["step-1", "step-3", "training.parquet"]
    for step in (1, 3):
        assert (trained / f"step-{step}" / "adapter_config.json").exists()
        assert all(tensor.dtype == torch.float32 for tensor in weights(trained, step).values())


def test_the_steps_are_unlike_each_other(trained):
    assert not same(weights(trained, 1), weights(trained, 3))


def test_the_log_has_a_row_a_step_and_a_finite_loss(trained):
    table = pd.read_parquet(trained / "training.parquet")
    assert list(table.columns) == ["step", "loss", "learning_rate", "grad_norm"]
    assert table["step"].tolist() == [1, 2, 3]
    assert np.isfinite(table["loss"]).all() and (table["grad_norm"] > 0).all()


def test_the_scratch_is_gone_and_the_provenance_is_there(trained):
    assert sorted(path.name for path in trained.parent.iterdir()) == ["tuned", "tuned.meta.json"]
    told = json.loads((trained.parent / "tuned.meta.json").read_text())
    assert (told["seed"], told["pairs"], told["spec"]["template"]) == (7, 48, TEMPLATE)


@pytest.mark.parametrize("step", [1, 3])
def test_an_adapter_loads_whole_and_changes_vectors(model, trained, step):
    texts = ["the oven and the bread", "a sail"]
    base = Embedder.load(str(model), device="cpu").encode(texts, TEMPLATE, "last")
    tuned = Embedder.load(str(model), str(trained / f"step-{step}"), device="cpu").encode(texts, TEMPLATE, "last")
    assert np.abs(tuned - base).max() > 1e-3


def test_the_same_seed_gives_the_same_adapter_to_the_bit(model, pairs, trained, tmp_path):
    train_adapter(**call(model, pairs, tmp_path / "again"))
    for step in (1, 3):
        assert same(weights(tmp_path / "again", step), weights(trained, step))


def test_another_seed_gives_another_adapter(model, pairs, trained, tmp_path):
    train_adapter(**call(model, pairs, tmp_path / "other", seed=8))
    assert not same(weights(tmp_path / "other", 3), weights(trained, 3))


def test_training_lowers_the_loss(model, pairs, tmp_path):
    changes = {"max_steps": 12, "steps": [12], "batch_size": 24, "learning_rate": 0.02}
    train_adapter(**call(model, pairs, tmp_path / "long", **changes))
    loss = pd.read_parquet(tmp_path / "long" / "training.parquet")["loss"]
    assert loss.tail(4).mean() < loss.head(2).mean()


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


LONG = {"max_steps": 40, "steps": [5, 40]}


@pytest.fixture(scope="module")
def whole(model, pairs, tmp_path_factory) -> Path:
    """An uninterrupted run of 40 steps."""
    out = tmp_path_factory.mktemp("whole") / "tuned"
    train_adapter(**call(model, pairs, out, **LONG))
    return out


@pytest.fixture(scope="module")
def killed(model, pairs, tmp_path_factory) -> Path:
    """The folder of the same run, killed after its first checkpoint: `tuned.scratch` alone."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = call(model, pairs, folder / "tuned", **LONG)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "workflow"), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(arguments)], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + 240
        while not list(folder.glob("*.scratch/*/trainer/checkpoint-*/trainer_state.json")):
            assert child.poll() is None and time.monotonic() < give_up, "no checkpoint was seen before the end"
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (folder / "tuned").exists()
    return folder


@pytest.fixture
def left(killed, tmp_path) -> Path:
    """A copy of what the kill left behind."""
    return Path(shutil.copytree(killed, tmp_path / "left"))


def test_a_killed_training_goes_on_and_ends_with_the_same_adapter(model, pairs, whole, left):
    train_adapter(**call(model, pairs, left / "tuned", **LONG))
    for step in (5, 40):
        assert same(weights(left / "tuned", step), weights(whole, step))
    pd.testing.assert_frame_equal(*(pd.read_parquet(p / "training.parquet") for p in (left / "tuned", whole)))


def test_a_killed_training_does_not_start_over(model, pairs, left):
    # The adapter of step 5 came before the checkpoint, so going on does not write it again.
    (saved,) = left.glob("*.scratch/*/step-5/adapter_model.safetensors")
    before = saved.stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", interrupt)  # before the scratch is removed
        with pytest.raises(KeyboardInterrupt):
            train_adapter(**call(model, pairs, left / "tuned", **LONG))
    assert saved.stat().st_mtime_ns == before


@pytest.mark.parametrize("half", ["", '{"global_ste'], ids=["no state", "half a state"])
def test_a_kill_in_the_middle_of_a_checkpoint_costs_that_checkpoint_alone(model, pairs, whole, left, half):
    (trainer,) = left.glob("*.scratch/*/trainer")
    broken = trainer / "checkpoint-39"
    broken.mkdir()
    if half:
        (broken / "trainer_state.json").write_text(half)
    train_adapter(**call(model, pairs, left / "tuned", **LONG))
    assert same(weights(left / "tuned", 40), weights(whole, 40))


def test_a_kill_while_the_results_are_written_loses_nothing(model, pairs, trained, tmp_path):
    arguments = call(model, pairs, tmp_path / "tuned")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(**arguments)
    assert not (tmp_path / "tuned").exists()
    train_adapter(**arguments)
    assert all(same(weights(tmp_path / "tuned", step), weights(trained, step)) for step in (1, 3))


@pytest.mark.parametrize("change", ["template", "model"])
def test_a_killed_training_is_not_gone_on_with_under_another_prompt_or_model(model, pairs, left, tmp_path, change):
    other = {"template": "{text} is about", "model": str(tiny_model(tmp_path / "other", seed=5))}
    changed = {change: other[change]}
    train_adapter(**{**call(model, pairs, left / "tuned", **LONG), **changed})
    train_adapter(**{**call(model, pairs, tmp_path / "fresh", **LONG), **changed})
    assert same(weights(left / "tuned", 40), weights(tmp_path / "fresh", 40))


def test_fewer_pairs_than_a_batch_is_one_line(model, pairs, tmp_path):
    with pytest.raises(PromptpoolError) as caught:
        train_adapter(**call(model, pairs, tmp_path / "x", batch_size=100))
    told = str(caught.value)
    assert "48 pairs are fewer than one batch of 100; lower batch_size or make more pairs" in told and "\n" not in told


def test_a_loss_that_is_not_finite_names_its_step():
    history = [{"step": n, "loss": loss, "learning_rate": 0.1, "grad_norm": 1.0} for n, loss in ((1, 2.0), (2, np.nan))]
    with pytest.raises(PromptpoolError, match="the loss is not finite at step 2; lower learning_rate"):
        finite_losses(history, "adapters/tuned")


def gradients(model: Path, texts: list[list[str]], **changes: object) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one batch, without dropout."""
    tuned = sentence_model(str(model), Template.parse("cluster", TEMPLATE), "last", 16, device="cpu")
    loss = loss_of(tuned, {**SPEC, **changes})
    value = loss([tuned.preprocess(side) for side in texts], None)
    value.backward()
    return value.item(), {name: p.grad for name, p in tuned.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_the_cached_loss_has_the_uncached_losses_gradients(model, pairs, rows):
    table = pd.read_parquet(pairs).head(8)
    texts = [table["text"].tolist(), table["positive"].tolist()]
    plain, wanted = gradients(model, texts, negatives="micro_batch", micro_batch_size=8)
    cached, found = gradients(model, texts, negatives="batch", micro_batch_size=rows)
    assert cached == pytest.approx(plain, rel=1e-5)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-7)


def test_micro_batches_see_fewer_negatives_than_the_batch(model, pairs, tmp_path):
    for negatives in ("batch", "micro_batch"):
        changes = {"negatives": negatives, "micro_batch_size": 2, "max_steps": 1, "steps": [1], "learning_rate": 1e-6}
        train_adapter(**call(model, pairs, tmp_path / negatives, **changes))
    batch, micro = (pd.read_parquet(tmp_path / n / "training.parquet")["loss"][0] for n in ("batch", "micro_batch"))
    assert micro < batch


@pytest.mark.parametrize("pooling", ["mean", "eos", "weighted", "concat"])
def test_every_trainable_pooling_trains(model, pairs, tmp_path, pooling):
    train_adapter(**call(model, pairs, tmp_path / "x", pooling=pooling, max_steps=1, steps=[1]))
    assert any(tensor.abs().max() > 0 for name, tensor in weights(tmp_path / "x", 1).items() if "lora_B" in name)


def test_joint_tokenization_merges_across_the_seam_where_composed_does_not(model, pairs, tmp_path):
    table = pd.read_parquet(pairs)
    table["text"] = table["text"].str.removeprefix("th")  # the prompt gives it back: "th" + "e bread"
    table.to_parquet(tmp_path / "pairs.parquet")
    adapters = []
    for way in ("joint", "composed"):
        job = call(model, tmp_path / "pairs.parquet", tmp_path / way, tokenization=way, max_steps=1, steps=[1])
        train_adapter(**{**job, "template": "th{text}"})
        adapters.append(weights(tmp_path / way, 1))
    assert not same(*adapters)
