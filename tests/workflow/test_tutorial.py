"""docs/tutorial.md, run as it stands: its commands, what they print, and the files that it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_study import REPOSITORY

PAGE = (REPOSITORY / "docs/tutorial.md").read_text(encoding="utf-8")
WHOLE = os.environ.get("PROMPTPOOL_TUTORIAL") == "whole"  # also what trains and scores: minutes


def blocks(kind: str, text: str = PAGE) -> list[str]:
    """The fenced blocks of one kind, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [block for name, block in found if name == kind]


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """An empty folder, and an environment with the command `promptpool` and this checkout's package."""
    folder = tmp_path_factory.mktemp("tutorial")
    command = folder / "bin/promptpool"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m promptpool "$@"\n')
    command.chmod(0o755)
    (folder / "work").mkdir()
    paths = os.pathsep.join([str(REPOSITORY / "workflow"), os.environ.get("PYTHONPATH", "")])
    return folder / "work", {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": paths}


def test_the_commands_run_as_they_stand(room):
    folder, environment = room
    before_the_run = PAGE.partition("## 5.")[0]
    said = ""
    for block in blocks("sh", PAGE if WHOLE else before_the_run):
        for line in block.splitlines():
            answer = subprocess.run(
                ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
            )
            allowed = (0, 1) if "doctor" in line or "check" in line else (0,)  # what they find is not the page's
            assert answer.returncode in allowed, (line, answer.stdout[-2000:], answer.stderr[-2000:])
            said += answer.stdout
    shown = blocks("", before_the_run)[-1].splitlines()
    assert len(shown) == 2 and all(line in said for line in shown)
    assert re.search(r"^train_adapter +1$", said, re.M) and "Plan of the study sample" in said
    if WHOLE:
        for block in blocks("python"):
            answer = subprocess.run(
                [sys.executable, "-c", block], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
            )
            assert answer.stdout.strip() == "(1, 256)", answer.stderr[-2000:]


def test_what_the_page_shows_is_in_the_files(room):
    folder, _ = room
    sample = (REPOSITORY / "workflow/resources/sample.csv").read_text(encoding="utf-8").splitlines()
    (shown,) = [block for block in blocks("") if block.startswith("text,label\n")]
    assert set(shown.splitlines()) <= set(sample) and f"{len(sample) - 1} descriptions" in PAGE
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    cells = re.findall(r"^\| (`.+?) \|", PAGE, flags=re.M)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} <= set(study)
    assert study["run"] == "sample" and f"results/sample/models/{next(iter(study['exports']))}" in PAGE
