"""What a training reports while it runs: a row per step, and a progress bar."""

from collections.abc import Mapping, Sequence

import pandas as pd
from tqdm import tqdm
from transformers import TrainerCallback

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
