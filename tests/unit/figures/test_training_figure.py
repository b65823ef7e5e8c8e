"""The figure of the trainings shows what was recorded, and leaves out what was not."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from promptpool.figures.draw import draw
from promptpool.figures.training import training_curves
from promptpool.report.build_report import training_row
from sample_tables import sample_training


def logs() -> dict[str, pd.DataFrame]:
    found = sample_training()
    return {name: log.assign(accuracy=np.linspace(0.2, 0.9, len(log))) for name, log in found.items()}


def validations() -> dict[str, pd.DataFrame]:
    table = pd.DataFrame({"step": [0, 20, 40, 80], "accuracy": [0.3, 0.55, 0.6, 0.52], "n": 400})
    return {"halves": table.assign(low=table["accuracy"] - 0.05, high=table["accuracy"] + 0.05)}


def titles(figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes]


def test_three_panels_where_all_is_known(drawn, tmp_path):
    training_curves(logs(), tmp_path / "curves", validations())
    assert titles(drawn[0]) == ["Training loss", "Found in the batch (%)", "Found among held-out pairs (%)"]
    (bars,) = drawn[0].axes[2].containers
    assert np.allclose(bars.lines[0].get_ydata(), [30, 55, 60, 52])
    assert np.allclose(np.array(bars.lines[2][0].get_segments())[:, :, 1], [[25, 35], [50, 60], [55, 65], [47, 57]])
    assert (tmp_path / "curves.svg").exists() and (tmp_path / "curves.png").exists()


def test_a_panel_of_nothing_is_left_out(drawn, tmp_path):
    training_curves(sample_training(), tmp_path / "curves")
    assert titles(drawn[0]) == ["Training loss"]


def test_a_long_log_is_smoothed_over_its_raw_values(drawn, tmp_path):
    log = pd.DataFrame({"step": np.arange(1, 1001), "loss": 1 + np.tile([0.5, -0.5], 500)})
    training_curves({"long": log}, tmp_path / "curves")
    raw, smooth = drawn[0].axes[0].lines
    assert len(raw.get_ydata()) == 1000 and np.ptp(raw.get_ydata()) == 1
    assert np.ptp(smooth.get_ydata()[20:-20]) < 0.1


def test_the_stage_reads_what_the_adapters_have(drawn, tmp_path):
    for name, log in logs().items():
        (tmp_path / name).mkdir()
        log.to_parquet(tmp_path / name / "training.parquet")
    validations()["halves"].to_parquet(tmp_path / "halves" / "validation.parquet")
    draw("training_curves", [str(tmp_path / "halves"), str(tmp_path / "synthetic")], str(tmp_path / "curves.svg"))
    assert len(drawn[0].axes) == 3 and len(drawn[0].axes[2].containers) == 1


def test_the_report_tells_the_best_step(tmp_path):
    path = Path(tmp_path, "training.parquet")
    sample_training()["halves"].to_parquet(path)
    assert training_row("halves", path)["best"] is None
    told = {"best_step": 40, "accuracy": 0.6, "low": 0.55, "high": 0.65, "n": 400, "beats_base": True}
    (tmp_path / "best_step.json").write_text(json.dumps(told))
    row = training_row("halves", path)
    assert row["best"] == told and row["steps"] == 80
