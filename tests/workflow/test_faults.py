"""A few of the harness's faults; `make test-faults` has hundreds."""

import shutil
import subprocess
import sys

import pytest
from tiny_study import REPOSITORY

pytestmark = pytest.mark.workflow


def test_some_faults_in_some_stages_are_healed_or_named(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "study", symlinks=True)
    command = [sys.executable, str(REPOSITORY / "tests/faults/harness.py"), "--study", str(copy), "--every", "13"]
    command += ["--injections", "14", "--writers", "2", "--files", "12", "--answers", "2", "--snakemakes", "0"]
    command += ["--deadline", "15", "--processes", "1"]  # another process of tests has the other core
    answer = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
