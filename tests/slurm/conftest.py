"""The cluster of one machine, up for a module of tests."""

from collections.abc import Iterator

import one_machine
import pytest


@pytest.fixture(scope="module")
def cluster(request) -> Iterator[None]:
    """A module says by `parametrize(..., indirect=True)` whether it keeps accounts (slurmdbd)."""
    reason = one_machine.why_not()
    if reason:
        pytest.skip(reason)
    with one_machine.alone():
        try:
            one_machine.start(accounting=request.param)
            yield
        finally:
            one_machine.stop()
