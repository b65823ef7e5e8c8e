"""What other processes are given to find this package, in a checkout and where a wheel was installed."""

import os
import subprocess
from pathlib import Path

import pytest
from promptpool.artifacts import files
from promptpool.artifacts.files import git_commit
from promptpool.errors import PromptpoolError
from promptpool.generation.vllm_backend import interpreter
from promptpool.runtime import installation
from promptpool.runtime.installation import checkout, with_package
from promptpool.study.preflight import share_package

ROOT = Path(__file__).parents[3]


@pytest.fixture
def wheel(monkeypatch, tmp_path) -> Path:
    """The package as it lies in an environment inside somebody's folder."""
    place = tmp_path / ".venv/lib/python3.11/site-packages"
    place.mkdir(parents=True)
    monkeypatch.setattr(installation, "IMPORTED_FROM", place)
    return place


def test_a_checkouts_package_comes_first():
    assert checkout() == ROOT
    assert with_package({"A": "1"}) == {"A": "1", "PYTHONPATH": str(ROOT / "workflow")}
    assert with_package({"PYTHONPATH": "/more"})["PYTHONPATH"] == f"{ROOT / 'workflow'}{os.pathsep}/more"


def test_the_packages_beside_an_installed_one_reach_no_other_interpreter(wheel, monkeypatch):
    assert checkout() is None
    assert with_package({"PYTHONPATH": "/more"}) == {"PYTHONPATH": "/more"} and with_package({}) == {}
    monkeypatch.setenv("PYTHONPATH", "/more")
    share_package()
    assert os.environ["PYTHONPATH"] == "/more"
    with pytest.raises(PromptpoolError, match="--sdm conda: its environments lack promptpool") as caught:
        share_package(environments=True)
    assert "\n" not in str(caught.value)


def test_vllms_environment_is_found_from_an_installed_package(wheel, monkeypatch, tmp_path):
    built = tmp_path / "study/.vllm/bin/python"
    built.parent.mkdir(parents=True)
    built.touch(mode=0o755)
    monkeypatch.chdir(tmp_path / "study")
    assert interpreter(None) == str(built)


def test_the_commit_is_of_the_packages_own_checkout_and_of_no_other(monkeypatch, tmp_path):
    own = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another project"]):
        subprocess.run([*own, *command], check=True)
    monkeypatch.setattr(files, "ROOM", tmp_path)
    assert git_commit() is None
    (tmp_path / "files.py").touch()
    for command in (["add", "files.py"], ["commit", "-q", "-m", "ours"]):
        subprocess.run([*own, *command], check=True)
    assert len(git_commit()) == 40
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
