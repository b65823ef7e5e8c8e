"""Before a costly job: the hub is asked for only where it is needed, and a refusal points at the demo."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from promptpool.errors import PromptpoolError
from promptpool.study.preflight import reachable, require_hub

NOWHERE = "http://127.0.0.1:9"


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with 404."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Refusing) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_needed_is_nothing_checked(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    require_hub([])


def test_a_hub_out_of_reach_is_one_line_that_points_at_the_demo(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    with pytest.raises(PromptpoolError) as caught:
        require_hub(["models.llama", "corpora.wiki", "tasks.X"])
    told = str(caught.value)
    assert "models.llama and 2 more" in told and NOWHERE in told and "make demo" in told
    assert "\n" not in told


def test_one_thing_needed_is_named_alone(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    with pytest.raises(PromptpoolError, match=r"the model hub for models\.llama, but"):
        require_hub(["models.llama"])


def test_a_hub_that_answers_is_enough(monkeypatch, server):
    monkeypatch.setenv("HF_ENDPOINT", server)
    require_hub(["models.llama"])


def test_a_404_is_an_answer(server):
    assert reachable(server)


@pytest.mark.parametrize("endpoint", [NOWHERE, "no url", "http://"])
def test_what_does_not_answer_is_out_of_reach(endpoint):
    assert not reachable(endpoint)


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_on_purpose_is_not_checked(monkeypatch, value):
    # A user who filled the cache beforehand needs no network.
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    require_hub(["models.llama"])
