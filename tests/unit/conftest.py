"""Fixtures of several modules."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums in one order: what makes a CPU's training the same to the last bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pretended(tmp_path_factory) -> dict[str, str]:
    """The environment of a process that runs on the pretended GPU; skips where its guard cannot be built."""
    import os

    import torch
    from pretended_gpu.build import COMPILER, HAS_CUDA, NO_COMPILER, build_guard

    if COMPILER is None or torch.version.cuda is not None:
        pytest.skip(NO_COMPILER if COMPILER is None else HAS_CUDA)
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests.parent / "workflow"), str(tests)])
    guard = build_guard(tmp_path_factory.mktemp("guard"))
    return {**os.environ, "PRETENDED_GUARD": str(guard), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def drawn(monkeypatch) -> Iterator[list]:
    """The figures that were drawn, kept open to look into."""
    from matplotlib import pyplot as plt

    kept = []
    monkeypatch.setattr(plt, "close", kept.append)
    yield kept
    monkeypatch.undo()
    for figure in kept:
        plt.close(figure)


# --- an export, and what it is made of (test_export, test_export_parity) ---------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A model of three layers with a BOS and a chat template."""
    from tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("base") / "model", layers=3, bos=True, chat=True)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    from tiny import tiny_adapter

    return tiny_adapter(tmp_path_factory.mktemp("adapter") / "step-3", base)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict:
    """The tables that a model card reads."""
    from tiny_export import tables

    return tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def exported(base, adapter, given, tmp_path_factory) -> Path:
    from tiny_export import export

    return export(tmp_path_factory.mktemp("exports") / "out", base, adapter, given)
