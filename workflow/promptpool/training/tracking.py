"""What a training reports while it runs: a row per step, a progress bar, TensorBoard files, W&B if configured."""

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm
from transformers import TrainerCallback

from ..artifacts.files import remove
from ..errors import PromptpoolError

TRAINING_COLUMNS = [
    "step",
    "loss",
    "accuracy",
    "negatives",
    "tokens_per_second",
    "learning_rate",
    "grad_norm",
    "seconds",
]
VALIDATION = ["step", "accuracy", "n", "low", "high"]
PREFIX = "validation_"


def training_table(history: Sequence[Mapping]) -> pd.DataFrame:
    """The trainer's log as a row per step, with TRAINING_COLUMNS."""
    return pd.DataFrame([entry for entry in history if "loss" in entry], columns=TRAINING_COLUMNS)


def validation_table(history: Sequence[Mapping]) -> pd.DataFrame:
    """The trainer's log as a row per checkpoint, with VALIDATION; empty if nothing was held out."""
    rows = [entry for entry in history if f"{PREFIX}accuracy" in entry]
    names = [name if name == "step" else PREFIX + name for name in VALIDATION]
    return pd.DataFrame([[row[name] for name in names] for row in rows], columns=VALIDATION)


class ProgressBar(TrainerCallback):
    """Shows the steps done, the loss and tokens a second."""

    def __init__(self, label: str):
        self.label, self.bar = label, None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", mininterval=2
            )

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if self.bar is not None and logs and "tokens_per_second" in logs:
            rate = f"{logs['tokens_per_second']:,.0f}"
            self.bar.set_postfix({"loss": f"{logs['loss']:.3f}", "tokens/s": rate}, refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self.bar is not None:
            self.bar.close()


class TensorBoard(TrainerCallback):
    """One event file with all steps' scalars. After a kill it is rewritten, up to where training resumes.

    It is written without the library's thread, which would wait for ever if the disk is full.
    """

    FLUSH_SECONDS = 10

    def __init__(self, folder: Path):
        self.folder, self.writer, self.flushed = folder, None, 0.0

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        if not state.is_world_process_zero:
            return
        remove(self.folder)
        self.folder.mkdir(parents=True)
        self.writer = EventsWriter(str(self.folder / "events"))
        for entry in state.log_history:
            self._add(entry)

    def on_log(self, args, state, control, **kwargs) -> None:
        if self.writer is not None:
            self._add(state.log_history[-1])
            if time.monotonic() - self.flushed > self.FLUSH_SECONDS:
                self.writer.flush()
                self.flushed = time.monotonic()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self.writer is not None:
            self.writer.close()

    def _add(self, entry: Mapping) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in entry.items():
            if name in TRAINING_COLUMNS[1:] or name.startswith(PREFIX):
                tag = f"validation/{name.removeprefix(PREFIX)}" if name.startswith(PREFIX) else f"train/{name}"
                self.writer.write_event(Event(wall_time=time.time(), step=entry["step"], summary=scalar(tag, value)))


def weights_and_biases(project: str | None, where: str) -> list[str]:
    """The trainer's `report_to`: W&B if a project is named. Raises PromptpoolError if its package is missing."""
    if project is None:
        return []
    if importlib.util.find_spec("wandb") is None:
        raise PromptpoolError(
            f"{where}: tracking.wandb: the package wandb is not installed; pip install wandb, or write null"
        )
    os.environ["WANDB_PROJECT"] = project
    return ["wandb"]
