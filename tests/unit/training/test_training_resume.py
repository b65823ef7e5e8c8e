"""A training that is killed, that fills the disk or that diverges: what it had is kept, and going on ends the same."""

import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from promptpool.artifacts.files import content_digests, write_sealed
from promptpool.errors import PromptpoolError
from promptpool.training import rank as training
from promptpool.training import trainer as trainer_module
from promptpool.training.rank import train_rank
from promptpool.training.trainer import MANIFEST, ContrastiveTrainer, cause, discard, last_whole
from tiny_training import Fork, base_model, call, same, weights, write_pairs

pytestmark = pytest.mark.usefixtures("one_thread")

# Five epochs of six steps, saved at 5, 7, 14, 21, 28 and 30: in epochs' middles. Every kind of state: dropout, masks,
# mixing, validation.
LONG = {"max_steps": None, "epochs": 5, "steps": [5, 30], "validation": 0.1, "group_by_length": True, "weights": [1]}
EXACT = ["step", "loss", "accuracy", "negatives", "learning_rate", "grad_norm"]  # the others are seconds


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet", 20)


@pytest.fixture(scope="module")
def whole(model, pairs, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "tuned"
    train_rank(**call(model, pairs, out, **LONG))
    return out


def same_outcome(found: Path, wanted: Path) -> None:
    for step in (5, 30):
        assert same(weights(found, step), weights(wanted, step))
        config = f"step-{step}/adapter_config.json"
        assert (found / config).read_bytes() == (wanted / config).read_bytes()
    for name, columns in (("training", EXACT), ("validation", ["step", "accuracy", "n", "low", "high"])):
        one, other = (pd.read_parquet(out / f"{name}.parquet")[columns] for out in (found, wanted))
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert (found / "best_step.json").read_bytes() == (wanted / "best_step.json").read_bytes()


def start(arguments: dict) -> Fork:
    return Fork(lambda: train_rank(**arguments))


def kill(child: Fork) -> None:
    child.kill()
    child.wait()


def wait_for(folder: Path, pattern: str, child: Fork) -> None:
    give_up = time.monotonic() + 240
    while not list(folder.glob(pattern)):
        assert child.poll() is None and time.monotonic() < give_up, f"no {pattern} was seen before the end"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def killed(model, pairs, tmp_path_factory) -> Path:
    """The folder of the same run, killed after its second checkpoint: `tuned.scratch` alone."""
    folder = tmp_path_factory.mktemp("killed")
    child = start(call(model, pairs, folder / "tuned", **LONG))
    try:
        wait_for(folder, "*.scratch/*/trainer/checkpoint-14", child)
    finally:
        kill(child)
    assert not (folder / "tuned").exists()
    return folder


@pytest.fixture
def left(killed, tmp_path) -> Path:
    """A copy of what the kill left behind."""
    return Path(shutil.copytree(killed, tmp_path / "left"))


def test_a_killed_training_goes_on_and_ends_with_the_same_adapter(model, pairs, whole, left):
    train_rank(**call(model, pairs, left / "tuned", **LONG))
    same_outcome(left / "tuned", whole)
    assert sorted(path.name for path in left.iterdir()) == ["tuned", "tuned.meta.json"]


def test_kills_at_random_moments(model, pairs, whole, tmp_path):
    """Killed wherever it is, three times over, once while it goes on from a kill."""
    arguments = call(model, pairs, tmp_path / "tuned", **LONG)
    draw = random.Random(os.getpid())
    for _ in range(3):
        child = start(arguments)
        try:
            wait_for(tmp_path, "*.scratch/*/trainer", child)
            time.sleep(draw.uniform(0, 0.6))
        finally:
            kill(child)
    if not (tmp_path / "tuned").exists():
        train_rank(**arguments)
    same_outcome(tmp_path / "tuned", whole)


def test_a_killed_training_does_not_start_over(model, pairs, left):
    # The adapter of step 5 came before the checkpoint, so going on does not write it again.
    (saved,) = left.glob("*.scratch/*/step-5/adapter_model.safetensors")
    before = saved.stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "finish", interrupt)  # before the scratch is removed
        with pytest.raises(KeyboardInterrupt):
            train_rank(**call(model, pairs, left / "tuned", **LONG))
    assert saved.stat().st_mtime_ns == before


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["rotation", "save", "result", "rename", "sidecar", "cleaning"])
def test_an_end_at_the_worst_moments_loses_nothing(model, pairs, whole, left, moment):
    """Just before a rename or a removal takes place, or in the middle of what is not atomic by itself."""
    places = {
        "rotation": (trainer_module, "discard"),
        "save": (ContrastiveTrainer, "_save_rng_state"),
        "result": (pd.DataFrame, "to_parquet"),
        "rename": (training, "write_json"),
        "sidecar": (training, "write_sidecar"),
        "cleaning": (training, "discard"),
    }
    arguments = call(model, pairs, left / "tuned", **LONG)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(*places[moment], interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_rank(**arguments)
    if moment not in ("sidecar", "cleaning"):
        assert not (left / "tuned").exists()
    train_rank(**arguments)
    same_outcome(left / "tuned", whole)
    assert sorted(path.name for path in left.iterdir()) == ["tuned", "tuned.meta.json"]


def test_half_a_checkpoint_and_half_a_removal_are_not_gone_on_from(tmp_path):
    for name in ("checkpoint-5", "checkpoint-10", ".half-15", ".gone-checkpoint-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
        write_sealed(tmp_path / name / MANIFEST, content_digests(tmp_path / name))
    assert last_whole(tmp_path) == str(tmp_path / "checkpoint-10")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]


@pytest.mark.parametrize("damaged", ["weights", MANIFEST])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path, damaged, how):
    for name in ("checkpoint-5", "checkpoint-10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
        write_sealed(tmp_path / name / MANIFEST, content_digests(tmp_path / name))
    hurt = tmp_path / "checkpoint-10" / damaged
    content = hurt.read_bytes()
    hurt.write_bytes(content[:-3] if how == "cut" else content[:4] + bytes([content[4] ^ 1]) + content[5:])
    if how == "gone":
        hurt.unlink()
    assert last_whole(tmp_path) == str(tmp_path / "checkpoint-5")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def flip_all(paths) -> None:
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def test_a_training_whose_newest_checkpoint_was_damaged_ends_the_same(model, pairs, whole, left):
    newest = max(left.glob("*.scratch/*/trainer/checkpoint-*"), key=trainer_module.number)
    flip_all([newest / trainer_module.WEIGHTS])
    train_rank(**call(model, pairs, left / "tuned", **LONG))
    same_outcome(left / "tuned", whole)


def test_a_step_that_was_damaged_while_it_waited_is_named(model, pairs, whole, left):
    flip_all(left.glob("*.scratch/*/step-5/adapter_model.safetensors"))
    with pytest.raises(
        PromptpoolError, match=r"step-5: damaged since it was written; remove .*\.scratch and train again"
    ):
        train_rank(**call(model, pairs, left / "tuned", **LONG))
    shutil.rmtree(left / "tuned.scratch")
    train_rank(**call(model, pairs, left / "tuned", **LONG))
    same_outcome(left / "tuned", whole)


def test_a_removal_takes_the_name_away_first(tmp_path, monkeypatch):
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "x").write_text("x")
    monkeypatch.setattr(trainer_module, "remove", lambda path: path.exists() and interrupt())
    with pytest.raises(KeyboardInterrupt):
        discard(tmp_path / "checkpoint-5")
    assert [path.name for path in tmp_path.iterdir()] == [".gone-checkpoint-5"]


def test_at_most_two_checkpoints_are_kept(killed):
    found = [int(path.name.split("-")[1]) for path in killed.glob("*.scratch/*/trainer/checkpoint-*")]
    assert 1 <= len(found) <= 3 and max(found) >= 14  # the third is there while the first is being removed


@pytest.mark.parametrize("change", ["template", "model", "weights"])
def test_a_killed_training_is_not_gone_on_with_under_another_prompt_or_model(model, pairs, left, tmp_path, change):
    """Nor with other weights under the same path."""
    base = Path(shutil.copytree(model, tmp_path / "base"))
    job = call(base, pairs, left / "tuned", **LONG)
    short = {**LONG, "epochs": None, "max_steps": 5, "steps": [5]}
    child_left = shutil.copytree(left, tmp_path / "again")
    if change == "template":
        job["template"] = "{text} is about"
    elif change == "model":
        job["model"] = str(base_model(tmp_path / "other", seed=5))
    else:
        shutil.copy(base_model(tmp_path / "other", seed=5) / "model.safetensors", base / "model.safetensors")
    fresh = {**job, "spec": {**job["spec"], **short}, "out": str(tmp_path / "fresh"),
             "scratch": str(tmp_path / "fresh.scratch")}  # fmt: skip
    train_rank(**fresh)
    train_rank(**{**fresh, "out": str(left / "tuned"), "scratch": str(child_left / "tuned.scratch")})
    assert same(weights(left / "tuned", 5), weights(tmp_path / "fresh", 5))


NAN_AT = 13


def diverge(monkeypatch, what: str) -> None:
    """The loss (or the gradient) of step 13 is not finite."""
    if what == "loss":
        kept = ContrastiveTrainer.compute_loss

        def compute_loss(self, *args, **kwargs):
            loss = kept(self, *args, **kwargs)
            return loss * float("nan") if self.state.global_step + 1 == NAN_AT else loss

        monkeypatch.setattr(ContrastiveTrainer, "compute_loss", compute_loss)
    else:
        kept = ContrastiveTrainer.training_step

        def training_step(self, model, *args, **kwargs):
            loss = kept(self, model, *args, **kwargs)
            if self.state.global_step + 1 == NAN_AT:
                next(weight.grad for weight in model.parameters() if weight.grad is not None).fill_(float("inf"))
            return loss

        monkeypatch.setattr(ContrastiveTrainer, "training_step", training_step)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_at_its_step_and_the_last_good_state_goes_on(model, pairs, whole, tmp_path, what):
    arguments = call(model, pairs, tmp_path / "tuned", **LONG)
    with pytest.MonkeyPatch.context() as patched:
        diverge(patched, what)
        with pytest.raises(PromptpoolError) as caught:
            train_rank(**arguments)
    told = str(caught.value)
    assert f"tuned: the {what} is not finite at step 13; lower learning_rate" in told and "\n" not in told
    assert "(the state of step 7 is kept)" in told
    assert not (tmp_path / "tuned").exists()
    train_rank(**arguments)  # the fault gone, it goes on
    same_outcome(tmp_path / "tuned", whole)


@pytest.mark.parametrize("writer", ["save_file", "rng", "adapter", "result"])
def test_a_full_disk_is_named_with_its_step_and_keeps_the_last_good_state(model, pairs, whole, tmp_path, writer):
    arguments = call(model, pairs, tmp_path / "tuned", **LONG)
    full = OSError(28, "No space left on device")
    calls = []

    def fails(kept, at: int):
        def write(*args, **kwargs):
            calls.append(1)
            if len(calls) >= at:
                raise full
            return kept(*args, **kwargs)

        return write

    with pytest.MonkeyPatch.context() as patched:
        if writer == "save_file":
            patched.setattr(trainer_module, "save_file", fails(trainer_module.save_file, 2))
        elif writer == "rng":
            patched.setattr(ContrastiveTrainer, "_save_rng_state", fails(ContrastiveTrainer._save_rng_state, 2))
        elif writer == "adapter":
            from transformers import Qwen3Model

            patched.setattr(Qwen3Model, "save_pretrained", fails(Qwen3Model.save_pretrained, 2))
        else:
            patched.setattr(shutil, "copytree", fails(shutil.copytree, 1))
        with pytest.raises(PromptpoolError) as caught:
            train_rank(**arguments)
    told = str(caught.value)
    assert "cannot be written at step" in told and "No space left on device" in told and "\n" not in told
    assert "is kept)" in told
    assert not (tmp_path / "tuned").exists() and not list(tmp_path.glob("*.scratch/*/trainer/.half*"))
    train_rank(**arguments)
    same_outcome(tmp_path / "tuned", whole)


def limited(arguments: dict) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        train_rank(**arguments)
    except PromptpoolError as error:
        print("told:", error)


def test_a_file_that_cannot_grow_is_told_by_the_real_writers(model, pairs, tmp_path):
    """No stand-in: the system itself refuses to write past 20 kB."""
    arguments = call(model, pairs, tmp_path / "tuned", **LONG)
    assert Fork(lambda: limited(arguments), tmp_path / "said").wait() == 0
    told = (tmp_path / "said").read_text().partition("told: ")[2].rstrip("\n")
    assert "cannot be written at step 5: " in told and "File too large" in told and "\n" not in told


def test_a_full_disk_is_found_where_a_writer_hides_it(tmp_path, monkeypatch):
    hidden = RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
    assert cause(hidden, tmp_path / "x").startswith("PytorchStreamWriter failed")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    assert cause(hidden, tmp_path / "x") == "No space left on device"
