"""How tests share a machine: `make test` runs one process a core, and each file of tests stays in one process."""

import gc
import os

import pytest

# These take the longest, so they start first: a process that is given one of them last would keep all others waiting.
FIRST = ("workflow/test_edits", "workflow/", "embedding/test_pretended_gpu", "training/", "unit/test_wheel")

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # set before a numeric library reads it
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, in a process of several. Alone, the order is that of the folders: fast tests first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((n for n, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))


def pytest_collection_finish() -> None:
    """What collecting imported stays to the end, so Python need not look for cycles in it again and again.

    That took 13 % of the time of the unit tests of scoring, figures and training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def kept_objects() -> None:
    """The same for what earlier modules imported: transformers looks for cycles at the end of each training."""
    gc.freeze()
