"""Writing by a server: its faults are waited out, its refusals are told in one line, its key is shown nowhere."""

import logging
import socket
import time
import traceback
from email.utils import formatdate

import pytest
from fake_openai import KEY
from openai_writer import OPTIONS, SAMPLING, opened
from promptpool.errors import PromptpoolError
from promptpool.generation import server_client
from promptpool.generation.backend import Request, WriterSetup, Written
from promptpool.generation.openai_backend import OpenAIBackend

REQUESTS = [Request(f"text number {number}", True, 2**40 + number) for number in range(20)]
ANSWERS = [Written(f"TEXT NUMBER {number}", 3, 8, True) for number in range(20)]


def told(action) -> str:
    with pytest.raises(PromptpoolError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_answers_come_in_the_order_of_their_requests(server):
    with opened(server) as backend:
        assert backend.write(REQUESTS) == ANSWERS


def test_a_chat_and_a_plain_text_go_to_their_own_addresses(server):
    with opened(server) as backend:
        backend.write([Request("an instruction", True, 1), Request("a prefix", False, 2)])
    sent = dict(zip(server.paths, server.bodies, strict=True))
    assert sent["/v1/chat/completions"]["messages"] == [{"role": "user", "content": "an instruction"}]
    assert sent["/v1/completions"]["prompt"] == "a prefix"


def test_every_request_carries_the_sampling_and_its_own_seed(server):
    with opened(server, extra={"chat_template_kwargs": {"enable_thinking": False}}) as backend:
        backend.write(REQUESTS[:3])
    assert sorted(body["seed"] for body in server.bodies) == [0, 1, 2]  # of 31 bits
    for body in server.bodies:
        assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == ("writer", 8, 0.7, 0.9)
        assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_null_in_extra_takes_a_key_out(server):
    with opened(server, extra={"seed": None, "top_p": None}) as backend:
        backend.write(REQUESTS[:1])
    assert not {"seed", "top_p"} & set(server.bodies[0])


def test_a_cut_answer_is_unfinished(server):
    with opened(server) as backend:
        (answer,) = backend.write([Request("nine words are more than eight tokens, so cut", False, 1)])
    assert not answer.finished


def test_faults_that_pass_are_waited_out(server):
    server.plan.extend([429, 500, "drop", "html", "fields", 503, "drop", 502])
    seen = []
    with opened(server) as backend:
        assert backend.write(REQUESTS, lambda done, total: seen.append((done, total))) == ANSWERS
    assert len(server.bodies) == len(REQUESTS) + 8
    assert seen == [(done, 20) for done in range(1, 21)]


def test_a_slow_answer_is_asked_for_again(server):
    server.plan.append(2.0)
    with opened(server, timeout=0.3) as backend:
        assert backend.write(REQUESTS[:1]) == ANSWERS[:1]
    assert len(server.bodies) == 2


@pytest.mark.parametrize("asked", ["0.5", "date"])
def test_retry_after_is_kept(server, asked):
    due = int(time.time()) + 2  # a date has whole seconds
    server.plan.append((429, {"Retry-After": formatdate(due, usegmt=True) if asked == "date" else asked}))
    with opened(server) as backend:
        backend.write(REQUESTS[:1])
    if asked == "date":
        assert server.times[1] + time.time() - time.monotonic() >= due - 0.01
    else:
        assert server.times[1] - server.times[0] >= 0.5


def test_waits_grow(server, monkeypatch):
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.1)
    server.always = 500
    with opened(server, retries=3) as backend:
        told(lambda: backend.write(REQUESTS[:1]))
    gaps = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert gaps[0] >= 0.05 and gaps[1] >= 0.1 and gaps[2] >= 0.2  # at least half of 0.1, 0.2, 0.4


def test_never_more_requests_at_once_than_allowed(server):
    server.delay = 0.05
    with opened(server, concurrency=3) as backend:
        backend.write(REQUESTS)
    assert server.most_at_once == 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [(500, "HTTP 500"), (429, "HTTP 429"), ("drop", "RemoteProtocolError"), ("html", "no completion: '<html>")],
)
def test_a_fault_that_stays_is_named(server, fault, words):
    server.always = fault
    with opened(server, retries=2) as backend:
        line = told(lambda: backend.write(REQUESTS))
    assert line.startswith(f"backends.openai: {server.url} failed 3 times for one text, last with ") and words in line
    assert "lower backends.openai.concurrency" in line


def test_a_refusal_is_told_at_once_and_ends_the_rest(server):
    server.always, server.delay = 400, 0.02
    with opened(server) as backend:
        line = told(lambda: backend.write([Request(f"text {number}", True, 0) for number in range(200)]))
    assert "refuses (400: status 400" in line and "fix backends.openai.extra" in line
    assert len(server.bodies) < 100 and set(server.tries.values()) == {1}


def test_a_model_that_the_server_lacks_is_told(server):
    server.always = 404
    with opened(server) as backend:
        assert "name a model that it serves" in told(lambda: backend.write(REQUESTS))


def test_a_spent_quota_is_not_waited_for(server):
    server.always = "quota"
    with opened(server) as backend:
        assert "insufficient_quota" in told(lambda: backend.write(REQUESTS[:1]))
    assert len(server.bodies) == 1


def test_a_text_longer_than_the_context_costs_no_other(server):
    server.plan.append("long")
    with opened(server, concurrency=1) as backend:
        answers = backend.write(REQUESTS)
    assert answers == [Written("", 0, 0, False, "too-long", settled=True), *ANSWERS[1:]]


def test_an_unreachable_server_is_told_when_it_is_opened():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        line = told(
            lambda: OpenAIBackend(WriterSetup("writer", None, SAMPLING, {**OPTIONS, "url": url}, needs_chat=True))
        )
    assert line.startswith(f"backends.openai.url: no server answers at {url} (ConnectError")
    assert line.endswith("start it, or fix the url")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "backends.openai.url: missing; give the server's address, such as http"),
        ("localhost:8000", "'localhost:8000' is not a web address"),
        ("ftp://host/v1", "is not a web address"),
        ("", "is not a web address"),
        ("http://me:hidden@127.0.0.1:1/v1", "remove them, and put the key in the environment"),
    ],
)
def test_an_unfit_address_is_told(url, words):
    line = told(lambda: OpenAIBackend(WriterSetup("writer", None, SAMPLING, {**OPTIONS, "url": url}, needs_chat=True)))
    assert words in line and "hidden" not in line


def test_a_bare_host_gets_the_usual_path(server):
    with opened(server, url=server.url.removesuffix("/v1")) as backend:
        assert backend.server.url == server.url


def test_a_missing_key_is_told(server, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    line = told(lambda: opened(server, key_variable="MY_KEY"))
    assert line.startswith("backends.openai.key_variable: the environment has no MY_KEY; export it, or")


def test_a_key_that_no_header_can_carry_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-schlüssel")
    assert "schl" not in told(lambda: opened(server, key_variable="MY_KEY"))


def test_the_key_opens_the_server(server, monkeypatch):
    server.needs_key = True
    monkeypatch.setenv("MY_KEY", KEY)
    with opened(server, key_variable="MY_KEY") as backend:
        assert backend.write(REQUESTS) == ANSWERS


def test_a_missing_key_is_told_where_the_server_wants_one(server):
    server.needs_key = True
    assert "name the variable that holds its key in backends.openai.key_variable" in told(lambda: opened(server))


def test_a_wrong_key_is_told_when_it_is_opened_and_not_shown(server, monkeypatch):
    server.needs_key = True
    monkeypatch.setenv("MY_KEY", "sk-wrong-9876543210")
    line = told(lambda: opened(server, key_variable="MY_KEY"))
    assert "refuses (401: Incorrect API key: Bearer ***" in line and "export the right key as MY_KEY" in line
    assert "9876543210" not in line


@pytest.mark.parametrize("fault", [400, 500, "html", "drop", None])
def test_the_key_is_in_no_log_no_repr_and_no_error(server, monkeypatch, caplog, capfd, fault):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    server.always = fault  # its messages quote the key
    shown = []
    with opened(server, key_variable="MY_KEY", retries=1) as backend:
        shown += [repr(backend), repr(backend.server.key), repr(backend.server._client.headers), str(vars(backend))]
        try:
            backend.write(REQUESTS[:4])
        except PromptpoolError as error:
            shown += ["".join(traceback.format_exception(error)), repr(error)]
    shown += [caplog.text, *capfd.readouterr()]
    assert not any("0123456789" in text for text in shown)


def test_any_string_can_be_sent(server):
    strange = ["\ud800 alone", "quotes \"'` and\nlines\r\n\t", "日本語 العربية 🙂", "x" * 100_000]
    with opened(server) as backend:
        answers = backend.write([Request(text, True, 1) for text in strange])
    assert [answer.text for answer in answers[1:]] == [text.upper().strip() for text in strange[1:]]
