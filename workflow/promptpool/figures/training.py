"""The figure of training: the loss and accuracy by step, and the accuracy on held-out pairs."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from .palette import FAINT
from .style import WIDTH, drawing, empty, grid, series

SMOOTH = 50  # the most steps drawn as they are; longer logs are drawn as a running mean over the raw values
PANELS = {"loss": "Training loss", "accuracy": "Found in the batch (%)"}


def training_curves(
    logs: Mapping[str, pd.DataFrame], out: str | Path, validations: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Loss, in-batch accuracy, and accuracy on held-out pairs against the step; one line per adapter.

    logs: name -> columns step, loss, accuracy (other columns are ignored, accuracy may be missing). validations:
    name -> columns step, accuracy, low, high, with step 0 the untuned model, for adapters with held-out pairs. A panel
    without data is left out.
    """
    validations = validations or {}
    panels = [name for name in PANELS if any(name in log for log in logs.values())]
    count = max(1, len(panels) + bool(validations))
    with drawing(out, ncols=count, figsize=(WIDTH * (0.25 + 0.25 * count), 2.5), squeeze=False) as (figure, axes):
        if not logs:
            return empty(axes[0, 0], "no adapter was trained")
        looks = series(sorted(logs))
        for axis, name in zip(axes[0], panels, strict=False):
            for adapter, (colour, marker) in looks.items():
                if name in logs[adapter]:
                    _line(axis, logs[adapter], name, adapter, colour, marker)
            axis.set_ylim(bottom=0)
            axis.set_title(PANELS[name])
        if validations:
            _validation(axes[0, -1], validations, looks)
        for axis in axes[0]:
            axis.set_xlabel("training step")
            grid(axis, "y")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=min(4, len(labels)))
    return None


def _line(axis, log: pd.DataFrame, name: str, adapter: str, colour: str, marker: str) -> None:
    log = log.dropna(subset=[name]).sort_values("step")
    values = log[name] * (100 if name == "accuracy" else 1)
    if len(log) > SMOOTH:
        axis.plot(log["step"], values, color=FAINT, linewidth=0.5, zorder=1)
        values = values.rolling(max(1, len(log) // SMOOTH), center=True, min_periods=1).mean()
    few = dict(marker=marker, markersize=3.5) if len(log) <= 30 else {}
    axis.plot(log["step"], values, color=colour, label=adapter, **few)


def _validation(axis, validations: Mapping[str, pd.DataFrame], looks: Mapping[str, tuple[str, str]]) -> None:
    last = max(table["step"].max() for table in validations.values())
    for position, (adapter, table) in enumerate(sorted(validations.items())):
        colour, marker = looks[adapter]
        table = table.sort_values("step")
        score, low, high = (table[name].to_numpy(dtype=float) * 100 for name in ("accuracy", "low", "high"))
        # Lines with the same steps are drawn side by side, because their bars would hide each other.
        steps = table["step"] + 0.006 * last * (position - (len(validations) - 1) / 2)
        axis.errorbar(
            steps, score, [score - low, high - score], color=colour, marker=marker, markersize=4, elinewidth=1
        )
    axis.set_title("Found among held-out pairs (%)")
