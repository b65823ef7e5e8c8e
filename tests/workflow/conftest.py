"""The tiny study, prepared and run."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_study
from filelock import FileLock
from promptpool.runtime.forked_jobs import PLACE
from tiny_study import REPOSITORY, prepare_study, snakemake
from warm_python import warm


@pytest.fixture(scope="session", autouse=True)
def forked() -> Iterator[None]:
    """Snakemake and its jobs are forks of a process that has the large libraries, where that makes no difference.

    So a run needs no such process of its own (promptpool/runtime/forked_jobs.py); `run_whole` has one.
    """
    with tempfile.TemporaryDirectory(prefix="warm") as folder:
        plain, tiny_study.PYTHON = tiny_study.PYTHON, warm(Path(folder))
        before, os.environ[PLACE] = os.environ.get(PLACE), "0"
        yield
        tiny_study.PYTHON = plain
        os.environ.pop(PLACE) if before is None else os.environ.update({PLACE: before})


@pytest.fixture(scope="session")
def prepare() -> Callable[[Path], Path]:
    """Fills a folder with the tiny study's files."""
    return prepare_study


@pytest.fixture(scope="session")
def reaching() -> Callable[[Path | str], dict[str, str]]:
    """Gives the environment in which scripts write the functions that they enter to a table."""
    return environment


@pytest.fixture(scope="session")
def finished(prepare, tmp_path_factory) -> Path:
    """The working directory of one whole run of the tiny study. Tests must leave it as it is.

    Snakemake was a new interpreter and its jobs were forks of one more, as they are for a user.

    reached.tsv lists the functions that its scripts entered (tests/reached). If tests run in several processes, the
    first that needs it runs it, the others wait, and each has a copy.
    """
    place = tmp_path_factory.getbasetemp()
    shared = place.parent if os.environ.get("PYTEST_XDIST_WORKER") else place
    first = shared / "finished/study"
    with FileLock(shared / "finished.lock"):
        if not (first / "reached.tsv").exists():
            run_whole(prepare(first))
    folder = tmp_path_factory.mktemp("tiny") / "study"
    shutil.copytree(first, folder, symlinks=True)  # it keeps all times
    return folder


def run_whole(folder: Path) -> None:
    """If it fails, it fails for each process that needs it, and leaves no folder that looks finished."""
    reached = folder / "reached.tsv"
    answer = snakemake(folder, PLAIN_PYTHON="1", **{PLACE: ""}, **environment(f"{reached}.part"))
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    os.replace(f"{reached}.part", reached)


def environment(table: Path | str) -> dict[str, str]:
    paths = [str(REPOSITORY / "tests/reached"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"REACHED": str(table), "PYTHONPATH": os.pathsep.join(paths)}
