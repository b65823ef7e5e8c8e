"""One set of versions: pyproject.toml pins them, and the conda environment and the lock say the same."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_dependency_is_pinned():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert [line for line in wanted if "==" not in line] == []


def test_the_conda_environment_has_the_same_pins():
    parts = yaml.safe_load((ROOT / "envs/main.yaml").read_text())["dependencies"]
    (pip,) = [part["pip"] for part in parts if isinstance(part, dict)]
    assert pip == PROJECT["dependencies"]


def test_the_lock_has_the_same_pins():
    lock = dict(line.split("==") for line in (ROOT / "envs/lock.txt").read_text().split())
    lock = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {name: lock.get(name) for name, _ in (line.split("==") for line in wanted)} == dict(
        line.split("==") for line in wanted
    )
