"""The tiny study, prepared and run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import REPOSITORY, prepare_study, snakemake


@pytest.fixture(scope="session")
def prepare() -> Callable[[Path], Path]:
    """Fills a folder with the tiny study's files."""
    return prepare_study


@pytest.fixture(scope="session")
def finished(prepare, tmp_path_factory) -> Path:
    """The working directory of one whole run of the tiny study. Tests must leave it as it is.

    reached.tsv lists the functions that its scripts entered (tests/reached).
    """
    folder = prepare(tmp_path_factory.mktemp("tiny") / "study")
    paths = [str(REPOSITORY / "tests/reached"), *filter(None, [os.environ.get("PYTHONPATH")])]
    answer = snakemake(folder, REACHED=str(folder / "reached.tsv"), PYTHONPATH=os.pathsep.join(paths))
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return folder
