"""A server on loopback for the tests of writing by a server."""

from collections.abc import Iterator

import pytest
from fake_openai import FakeServer, fake_openai
from promptpool.generation import server_client


@pytest.fixture
def server(monkeypatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.01)
    with fake_openai() as running:
        yield running
