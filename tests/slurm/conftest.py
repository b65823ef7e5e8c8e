"""The cluster of one machine, up for a module of tests."""

import shutil
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
        failed = request.session.testsfailed
        try:
            one_machine.start(accounting=request.param)
            yield
        finally:
            one_machine.stop()
            assert not one_machine.left_behind()
            if request.session.testsfailed == failed:  # else the daemons' logs may tell why
                shutil.rmtree(one_machine.STATE, ignore_errors=True)
