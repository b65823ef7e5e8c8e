"""sentence-transformers' trainer, with checkpoints that are complete or absent, and faults reported with their step."""

import contextlib
import io
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME

from ..artifacts.files import atomic_path, content_digests, remove, sidecar_path, write_sealed
from ..artifacts.integrity import sealed
from ..errors import PromptpoolError
from .ahead import Ahead
from .lora import learning, save_adapter
from .losses import FACTS
from .sampler import PairBatches

WEIGHTS = "weights.safetensors"
MANIFEST = "whole.json"  # the digests of a checkpoint's other files
SAVE_SECONDS = 600  # a kill loses at most this much work, and at most a quarter of the steps
KEPT = 2  # checkpoints: the last, and the one before it


class ContrastiveTrainer(SentenceTransformerTrainer):
    """Logs what the loss counted, saves only trainable weights, and stops at the first loss that is not finite.

    where: the adapter's directory, for messages. batches: the sampler, which determines each epoch's batches.
    """

    def __init__(self, *args, batches: PairBatches, where: str, **kwargs):
        self.batches, self.where = batches, where
        self.clock = time.monotonic()
        self.ahead: Ahead | None = None  # the current epoch's batches
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)  # it would print every row

    def add_model_card_callback(self, *args, **kwargs) -> None:
        """No card, because only the adapter is kept, not this model."""

    def get_batch_sampler(self, *args, **kwargs) -> PairBatches:
        return self.batches

    def get_train_dataloader(self):
        loader = super().get_train_dataloader()
        loader.device = None  # batches stay on the host until their step; a thread makes them
        return loader

    def get_batch_samples(self, epoch_iterator, *args, **kwargs):
        if self.ahead is None or self.ahead.source is not epoch_iterator:
            self._end_ahead()
            self.ahead = Ahead(epoch_iterator)
        return super().get_batch_samples(self.ahead, *args, **kwargs)

    def _end_ahead(self) -> None:
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None

    def train(self, *args, **kwargs):
        try:
            return super().train(*args, **kwargs)
        finally:
            self._end_ahead()

    def training_step(self, model, inputs, *args, **kwargs) -> torch.Tensor:
        while True:
            try:
                loss = super().training_step(model, dict(inputs), *args, **kwargs)
                break
            except torch.OutOfMemoryError:
                if not self._shrink():
                    raise PromptpoolError(
                        f"{self.where}: out of memory at step {self.state.global_step + 1}; lower micro_batch_size, or "
                        f"set gradient_checkpointing ({self._kept()})"
                    ) from None
            model.zero_grad()
            torch.cuda.empty_cache()
        if self.args.world_size == 1:  # all ranks must cut the same chunks
            self.loss.grow()
        self._require_finite("loss", float(loss))
        return loss

    def _shrink(self) -> bool:
        """Halves what is on the device from now on; False if it is already minimal, or if other ranks would wait."""
        if self.args.world_size > 1:
            return False
        return self.loss.shrink()

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None:
            self._require_finite("gradient", float(norm))
        return norm

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise PromptpoolError(
                f"{self.where}: the {what} is not finite at step {self.state.global_step + 1}; "
                f"lower learning_rate or raise temperature ({self._kept()})"
            )

    def _kept(self) -> str:
        steps = [number(path) for path in Path(self.args.output_dir).glob("checkpoint-*")]
        return f"the state of step {max(steps)} is kept" if steps else "no state was kept yet"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            facts = self.accelerator.reduce(self.loss.take_facts(), "sum").tolist()
            rows, correct, negatives, tokens, _ = (facts[FACTS.index(name)] for name in FACTS)
            now = time.monotonic()
            seconds, self.clock = now - self.clock, now
            logs = {
                **logs,
                "accuracy": correct / rows,
                "negatives": negatives / rows,
                "tokens_per_second": tokens / seconds,
                "seconds": seconds,
            }
        super().log(logs, start_time)

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Stops the training if a file can't be written, with one line that names the cause."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError, PromptpoolError) as error:
            reason = error.__cause__ if isinstance(error, PromptpoolError) else error  # `atomic_path` names the file
            if reason is None:
                raise
            raise PromptpoolError(
                f"{path}: cannot be written at step {self.state.global_step}: {cause(reason, path)}; "
                f"fix that and run again ({self._kept()})"
            ) from error

    def _save_checkpoint(self, model, trial) -> None:
        """Trainable weights, optimizer, schedule, random states and log: renamed into place once complete."""
        folder = Path(self.args.output_dir)
        final = folder / f"checkpoint-{self.state.global_step}"
        half = folder / f".half-{self.state.global_step}"
        with self.writing(final), removed_on_error(half):
            if self.args.should_save:
                remove(half)
                half.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self._save_rng_state(str(half))
            if self.args.should_save:
                save_file({name: weight.detach() for name, weight in learning(self.model).items()}, half / WEIGHTS)
                write_state(self.optimizer.state_dict(), half / OPTIMIZER_NAME)
                write_state(self.lr_scheduler.state_dict(), half / SCHEDULER_NAME)
                self.state.save_to_json(str(half / TRAINER_STATE_NAME))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                write_sealed(half / MANIFEST, content_digests(half))
                remove(final)
                os.replace(half, final)
        if self.args.should_save:
            for old in sorted(folder.glob("checkpoint-*"), key=number)[:-KEPT]:
                discard(old)

    def _load_from_checkpoint(self, checkpoint: str, model=None) -> None:
        """Restores the trainable weights bit by bit."""
        saved, here = load_file(Path(checkpoint) / WEIGHTS), learning(self.model)
        if set(saved) != set(here):
            raise PromptpoolError(f"{checkpoint}: not this adapter's checkpoint; remove {Path(checkpoint).parent}")
        with torch.no_grad():
            for name, weight in here.items():
                weight.copy_(saved[name])


class Checkpoints(TrainerCallback):
    """When to save: only the adapter at the named steps, and the trainer's state at those and at intervals.

    trainer: set once it exists. validate: called at step 0 and at every named step; its numbers are logged.
    """

    def __init__(self, folder: Path, steps: Sequence[int], validate=None):
        self.folder, self.steps, self.validate = folder, frozenset(steps), validate
        self.trainer: ContrastiveTrainer | None = None
        self.saved = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == 0:
            self._judge(state)
        self.trainer.clock = self.saved = time.monotonic()

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        # Depends only on the step, so that a resumed epoch is the interrupted one.
        self.trainer.batches.set_epoch(state.global_step // self.trainer.batches.steps)

    def on_step_end(self, args, state, control, **kwargs):
        step = state.global_step
        if step in self.steps:
            if state.is_world_process_zero:
                final = self.folder / f"step-{step}"
                with self.trainer.writing(final), atomic_path(final) as temporary:
                    save_adapter(self.trainer.model, temporary)
                    write_sealed(sidecar_path(final), content_digests(temporary))
            self._judge(state)
            control.should_log = True  # the row above has switched it off, and the step's own is still to come
        alone = args.world_size == 1  # ranks' clocks differ, and all must save together
        if step in self.steps or (alone and time.monotonic() - self.saved > SAVE_SECONDS):
            control.should_save = True
        if control.should_save:
            self.saved = time.monotonic()
        return control

    def on_save(self, args, state, control, **kwargs) -> None:
        self.saved = time.monotonic()

    def _judge(self, state) -> None:
        if self.validate is not None and state.is_world_process_zero:
            started = time.monotonic()
            if self.trainer.ahead is not None:
                self.trainer.ahead.settle()
            self.trainer.log(self.validate(self.trainer.model))
            self.trainer.clock += time.monotonic() - started  # not part of the step's time


def last_whole(folder: Path) -> str | None:
    """The newest complete checkpoint. Removes damaged ones and what a kill left half written or half removed."""
    for path in (*folder.glob(".half-*"), *folder.glob(".gone-*")):
        remove(path)
    found = sorted(folder.glob("checkpoint-*"), key=number)
    whole = [path for path in found if sealed(path, path / MANIFEST)]
    for path in found:
        if path not in whole:
            print(f"Warning: {path} is damaged; training goes on without it", file=sys.stderr)
            remove(path)
    return str(whole[-1]) if whole else None


def write_state(state: object, path: Path) -> None:
    """`torch.save`, whose own writer would not report why it fails."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())  # not a view: in an error's traceback that would crash CPython 3.12.1


def number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def discard(path: Path) -> None:
    """Removes a folder so that a kill leaves it complete or under a name that nothing reads."""
    if path.exists():
        gone = path.with_name(f".gone-{path.name}")
        remove(gone)
        os.replace(path, gone)
        remove(gone)


@contextlib.contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """Frees a full disk's space again."""
    try:
        yield
    except Exception:
        remove(path)
        raise


def cause(error: Exception, path: Path) -> str:
    """Why a write failed. Some writers hide the system's reason, so a full disk is checked for."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if code := re.search(r"os error (\d+)", str(error)):
        return os.strerror(int(code[1]))
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if shutil.disk_usage(there).free < 1 << 20:
        return "No space left on device"
    return (str(error).splitlines() or [type(error).__name__])[0]
