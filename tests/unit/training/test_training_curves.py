"""Curves in Trackio and W&B: every figure with its step, and no training that depends on them."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from promptpool.errors import PromptpoolError
from promptpool.training.curves import SERVICES
from promptpool.training.rank import train_rank
from promptpool.training.tracking import TRAINING_COLUMNS, VALIDATION
from tiny_training import CHILD, ENVIRONMENT, PYTHON, SPEC, base_model, call, write_pairs

pytestmark = pytest.mark.usefixtures("one_thread")
# A package with the part of the interface that Trackio and W&B share. It writes down its calls.
STAND_IN = """
import json
from pathlib import Path

{fault_at_import}
def note(*call):
    if call[0] in {faults}:
        raise ConnectionError("the server is down\\nand more")
    with Path(__file__).with_name("calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\\n")

def init(project, name=None, config=None):
    note("init", project, name, config)

def log(metrics, step=None):
    note("log", step, metrics)

def finish():
    note("finish")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.parquet")


def tracking(**projects: str) -> dict:
    return {"tracking": {"tensorboard": False, **dict.fromkeys(SERVICES), **projects}}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Installs a package of that name for this test; faults: the functions that fail."""

    def install(package: str, faults: tuple[str, ...] = (), at_import: str = "") -> Path:
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / f"{package}.py").write_text(STAND_IN.format(faults=faults, fault_at_import=at_import))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, package, raising=False)
        importlib.invalidate_caches()
        return folder / "calls.jsonl"

    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "1")  # restored after the test
    yield install
    for package in SERVICES:
        sys.modules.pop(package, None)


def figures(out: Path) -> dict[tuple[int, str], float]:
    """(step, tag) -> value, from a training's tables."""
    found = {}
    for row in pd.read_parquet(out / "training.parquet").to_dict("records"):
        found |= {(row["step"], f"train/{name}"): row[name] for name in TRAINING_COLUMNS[1:]}
    for row in pd.read_parquet(out / "validation.parquet").to_dict("records"):
        found |= {(row["step"], f"validation/{name}"): row[name] for name in VALIDATION[1:]}
    return found


def logged(calls: Path) -> list[tuple[int, str, float]]:
    rows = [json.loads(line) for line in calls.read_text().splitlines()]
    return [(step, tag, value) for kind, *rest in rows if kind == "log" for step, values in [rest]
            for tag, value in values.items()]  # fmt: skip


@pytest.mark.parametrize("package", SERVICES)
def test_every_figure_arrives_with_its_step(model, pairs, tmp_path, stand_in, package):
    calls, out = stand_in(package), tmp_path / "tuned"
    train_rank(**call(model, pairs, out, tracking(**{package: "mine"}), validation=0.3))
    kinds = [json.loads(line) for line in calls.read_text().splitlines()]
    kind, project, name, recipe = kinds[0]
    assert (kind, project, name) == ("init", "mine", "tuned") and recipe["learning_rate"] == SPEC["learning_rate"]
    assert kinds[-1] == ["finish"] and len([kind for kind, *_ in kinds if kind == "init"]) == 1
    sent = logged(calls)
    assert {(step, tag): value for step, tag, value in sent} == pytest.approx(figures(out))
    assert len(sent) == len(figures(out))  # each once
    assert [step for step, *_ in sent] == sorted(step for step, *_ in sent)  # W&B drops a step that goes back


def test_nothing_is_imported_or_sent_unless_a_project_is_named(model, pairs, tmp_path, stand_in):
    calls = stand_in("trackio", at_import="raise SystemExit('imported')")
    train_rank(**call(model, pairs, tmp_path / "x", steps=[1], max_steps=1))
    assert not calls.exists() and "trackio" not in sys.modules


@pytest.mark.parametrize("package", SERVICES)
def test_a_missing_package_is_one_line_before_the_model_is_read(pairs, tmp_path, monkeypatch, package):
    (tmp_path / "site" / package).mkdir(parents=True)  # as W&B's own folder of runs, which is no package
    monkeypatch.syspath_prepend(tmp_path / "site")
    known = importlib.util.find_spec
    if getattr(known(package), "origin", None):
        pytest.skip("it is installed here")
    with pytest.raises(PromptpoolError) as caught:
        train_rank(**call(tmp_path / "no-model", pairs, tmp_path / "x", tracking(**{package: "mine"})))
    assert str(caught.value) == (
        f"{tmp_path / 'x'}: tracking.{package}: the package {package} is not installed; pip install {package}, "
        "or write null"
    )


@pytest.mark.parametrize(
    ("faults", "at_import", "reason", "steps"),
    [
        (("init",), "", "the server is down", 0),
        (("log",), "", "the server is down", 0),
        (("finish",), "", "the server is down", 3),
        ((), "raise ImportError('a part is missing')", "a part is missing", 0),
    ],
    ids=["init", "log", "finish", "import"],
)
def test_a_service_that_fails_is_one_warning_and_the_same_adapter(
    model, pairs, tmp_path, stand_in, capsys, faults, at_import, reason, steps
):
    calls, out = stand_in("trackio", faults, at_import), tmp_path / "x"
    train_rank(**call(model, pairs, out, tracking(trackio="mine")))
    assert len(pd.read_parquet(out / "training.parquet")) == 3 and (out / "step-3").is_dir()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "tracking.trackio" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith(f"Warning: {out}: tracking.trackio: {reason}; training goes on without its curves")
    assert len({step for step, *_ in logged(calls)} if calls.exists() else ()) == steps


def test_a_resumed_training_sends_the_steps_before_the_kill_too(model, pairs, tmp_path, stand_in):
    calls, out = stand_in("trackio"), tmp_path / "tuned"
    told = call(model, pairs, out, tracking(trackio="mine"), steps=[2, 4], max_steps=4, validation=0.3)
    killed = CHILD.replace(
        "train_rank(**",
        "import os\nfrom promptpool.training.trainer import ContrastiveTrainer\n"
        "whole = ContrastiveTrainer.training_step\n"
        "def step(self, *given, **named):\n"
        "    if self.state.global_step == 3: os._exit(9)\n"
        "    return whole(self, *given, **named)\n"
        "ContrastiveTrainer.training_step = step\ntrain_rank(**",
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{calls.parent}:{ENVIRONMENT['PYTHONPATH']}"}
    child = subprocess.run([PYTHON, "-c", killed, json.dumps(told)], env=environment, capture_output=True, timeout=120)
    assert child.returncode == 9, child.stderr.decode()[-2000:]
    assert {step for step, *_ in logged(calls)} == {0, 1, 2, 3}
    calls.unlink()
    train_rank(**told)
    assert {(step, tag): value for step, tag, value in logged(calls)} == pytest.approx(figures(out))


def test_trackio_itself_holds_every_figure(model, pairs, tmp_path):
    pytest.importorskip("trackio", reason="pip install trackio")
    told = call(model, pairs, tmp_path / "tuned", tracking(trackio="mine"), validation=0.3)
    environment = {**ENVIRONMENT, "TRACKIO_DIR": str(tmp_path / "trackio")}
    child = subprocess.run([PYTHON, "-c", CHILD, json.dumps(told)], env=environment, capture_output=True, timeout=300)
    assert child.returncode == 0, child.stderr.decode()[-2000:]
    read = (
        "import json, trackio; from trackio.sqlite_storage import SQLiteStorage; (run,) = trackio.Api().runs('mine')\n"
        "print(json.dumps([run.name, SQLiteStorage.get_logs('mine', run.name)]))"
    )
    shown = subprocess.run([PYTHON, "-c", read], env=environment, capture_output=True, timeout=120)
    name, rows = json.loads(shown.stdout.splitlines()[-1])
    assert name == "tuned"
    found = {(row["step"], tag): value for row in rows for tag, value in row.items() if "/" in tag}
    assert found == pytest.approx(figures(tmp_path / "tuned"))
