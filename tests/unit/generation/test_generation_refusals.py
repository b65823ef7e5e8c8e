"""A server that refuses one request costs that row alone; one that refuses all ends the writing; so does thinking."""

import threading

import pytest
from fake_openai import FakeServer
from openai_writer import OPTIONS, opened
from promptpool.errors import PromptpoolError
from promptpool.generation import openai_backend as generation_openai
from promptpool.generation.backend import Request, Written
from promptpool.generation.watch import IN_A_ROW

REQUESTS = [Request(f"text number {number}", True, number) for number in range(60)]


def error(status: int, **fields: object) -> dict:
    return {"status": status, "content": {"error": {"message": "no", **fields}}}


# What servers in use say of one request that they refuse.
AZURE = error(400, code="content_filter", param="prompt", innererror={"code": "ResponsibleAIPolicyViolation"})
REFUSALS = {
    "azure": (AZURE, "filtered"),
    "openai policy": (error(400, code="content_policy_violation"), "filtered"),
    "alibaba": (error(400, code="data_inspection_failed"), "filtered"),
    "bare": ({"status": 400, "content": {"message": "blocked by the upstream provider"}}, "refused"),
    "words": ({"status": 400, "content": {"error": "Eingabe abgelehnt"}}, "refused"),
    "no json": ({"status": 400, "content": ["nothing", "to", "read"]}, "refused"),
    "tgi": ({"status": 422, "content": {"error": "`inputs` tokens + `max_new_tokens` must be <= 512"}}, "refused"),
    "fastapi": ({"status": 422, "content": {"detail": [{"loc": ["body"], "msg": "zu lang"}]}}, "refused"),
    "vllm": ({"status": 400, "content": {"object": "error", "message": "too long", "code": 400}}, "refused"),
    "llama.cpp": (error(400, type="exceed_context_size_error", code=400), "too-long"),
    "openai length": (error(400, code="context_length_exceeded"), "too-long"),
    "too large": (error(413), "too-long"),
    "legal": (error(451), "refused"),
    "moderation": (error(403, metadata={"reasons": ["violence"]}), "refused"),
    "any other": (error(418), "refused"),
}


def written(server: FakeServer, requests=REQUESTS, progress=None, **options: object) -> list[Written]:
    with opened(server, **{"retries": 2, **options}) as backend:
        return backend.write(requests, progress)


def told(server: FakeServer, requests=REQUESTS, **options: object) -> str:
    with pytest.raises(PromptpoolError) as caught:
        written(server, requests, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def on(*texts: int, step: object):
    """A rule: the step for these texts."""
    return lambda text: step if text in {f"text number {number}" for number in texts} else None


def asked(server: FakeServer) -> int:
    """Requests for rows of the set: not those that find out whether the server answers at all."""
    return sum(count for text, count in server.tries.items() if text.startswith("text number"))


# --- one row ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("chat", [True, False])
def test_one_request_that_is_refused_costs_no_other(server, kind, chat):
    step, fault = REFUSALS[kind]
    server.rule = on(0, 7, step=step)
    requests = [Request(request.text, chat, request.seed) for request in REQUESTS]
    answers = written(server, requests)
    assert [answer.fault for answer in answers] == [fault if n in (0, 7) else None for n in range(60)]
    assert all(answer.settled == (n in (0, 7)) for n, answer in enumerate(answers))
    assert [answer.text for n, answer in enumerate(answers) if n not in (0, 7)] == [
        f"TEXT NUMBER {n}" for n in range(60) if n not in (0, 7)
    ]
    assert asked(server) == 60  # a refusal is no fault that passes


def test_the_first_request_of_all_may_be_the_refused_one(server):
    server.rule = on(0, step=AZURE)
    assert [answer.fault for answer in written(server, REQUESTS[:2], concurrency=1)] == ["filtered", None]
    assert [answer.fault for answer in written(server, REQUESTS[:1])] == ["filtered"]


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        ({"finish_reason": "content_filter", "message": {"role": "assistant"}}, "filtered"),
        ({"finish_reason": "content_filter", "message": {"content": "half an ans"}}, "filtered"),
        ({"finish_reason": "SAFETY", "message": {"content": None}}, "filtered"),
        ({"message": {"content": None, "refusal": "I can't help with that."}}, "refusal"),
        ({"message": {"content": None}}, None),
        ({"message": {"content": ""}}, None),
        ({"message": {}}, None),
        ({"message": {"content": None, "reasoning_content": "hm"}}, "thinking"),
        ({"message": {"content": None, "reasoning": "hm"}}, "thinking"),
        ({"message": {"content": "", "reasoning_details": [{"text": "hm"}]}}, "thinking"),
        ({"message": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}}, "thinking"),
        ({"message": {"content": None}, "finish_reason": "length"}, "thinking"),
        ({"message": {"content": "[THINK]never done"}, "finish_reason": "length"}, "thinking"),
        ({"message": {"content": "<think>hm</think>"}}, "thinking"),
    ],
)
def test_an_answer_without_a_text_costs_no_other(server, choice, fault):
    server.rule = on(3, step={"choice": choice})
    answers = written(server)
    assert (answers[3].text, answers[3].fault, answers[3].settled) == ("", fault, False)
    assert [answer.text for answer in answers].count("") == 1 and asked(server) == 60


@pytest.mark.parametrize(
    ("choice", "text", "finished"),
    [
        ({"message": {"content": "[THINK]hm[/THINK]It is hot."}}, "It is hot.", True),
        ({"message": {"content": "It is hot.", "reasoning_content": "hm"}}, "It is hot.", True),
        (
            {"message": {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "It is hot."}]}},
            "It is hot.",
            True,
        ),
        ({"message": {"content": "It is hot. It"}, "finish_reason": "length"}, "It is hot. It", False),
        ({"message": {"content": "It is hot. It"}, "finish_reason": "MAX_TOKENS"}, "It is hot. It", False),
        ({"message": {"content": "It is hot."}, "finish_reason": None}, "It is hot.", True),
    ],
)
def test_an_answer_with_a_text_has_it(server, choice, text, finished):
    server.rule = on(3, step={"choice": choice})
    answer = written(server)[3]
    assert (answer.text, answer.finished, answer.fault) == (text, finished, None)


@pytest.mark.parametrize("step", [500, "drop", "html", "fields", 3.0, {"choice": {"finish_reason": "error"}}])
def test_a_text_that_no_try_can_write_costs_no_other(server, step):
    server.rule = on(5, step=step)
    answers = written(server, timeout=0.5, retries=1)
    assert [answer.fault for answer in answers] == ["failed" if n == 5 else None for n in range(60)]
    assert server.tries["text number 5"] == 3  # two tries, and one when the server was found to answer others


def test_a_refused_text_is_shown_in_the_log(server, capfd):
    server.rule = on(*range(10), step=AZURE)
    written(server, concurrency=1)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == generation_openai.REFUSALS_SHOWN
    assert lines[0] == "Warning: backends.openai: a text has no answer (filtered: HTTP 400: no content_filter)"


# --- all of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 413, 422, 451])
def test_what_is_refused_of_a_harmless_text_too_ends_the_writing_at_once(server, status):
    server.always = {"status": status, "content": {"error": {"message": "top_p is not allowed here"}}}
    line = told(server)
    assert f"refuses ({status}: top_p is not allowed here" in line
    assert asked(server) <= 8 and len(server.bodies) <= 16  # those under way, and the harmless ones


@pytest.mark.parametrize("status", [401, 402, 404])
def test_what_no_request_has_earned_ends_the_writing_without_a_question(server, status):
    server.rule = on(3, step=status)
    assert f"refuses ({status}" in told(server, concurrency=1)
    assert asked(server) == len(server.bodies) == 4


def test_a_key_that_is_taken_away_while_it_is_in_use_ends_the_writing(server):
    server.plan.extend([None] * 30)
    server.always = 403
    assert "refuses (403" in told(server, concurrency=1)
    assert asked(server) == 31


class InTurn:
    """A rule that answers a text only when the writing has counted all that were answered: on a busy machine too."""

    def __init__(self, rule):
        self.rule, self.answered, self.counted, self.ended = rule, set(), 0, False
        self.changed = threading.Condition()

    def __call__(self, text: str):
        if text.startswith("text number"):  # others find out whether the server answers at all
            with self.changed:
                self.changed.wait_for(lambda: self.ended or self.counted >= len(self.answered - {text}), timeout=30)
                self.answered.add(text)
        return self.rule(text)

    def count(self, done: int, ended: bool = False) -> None:
        with self.changed:
            self.counted, self.ended = done, ended
            self.changed.notify_all()


@pytest.mark.parametrize("before", [0, 30])
def test_many_refused_texts_in_a_row_end_the_writing_with_advice(server, before):
    rule = InTurn(on(*range(before, 200), step=AZURE))
    server.rule = rule if before else rule.rule  # until one text is written, the watch itself lets no more run at once
    requests = [Request(f"text number {number}", True, 0) for number in range(200)]
    try:
        line = told(server, requests, progress=lambda done, _: rule.count(done))
    finally:
        rule.count(0, ended=True)
    assert line.startswith(f"backends.openai: {server.url} gives no answer to {IN_A_ROW} texts in a row (filtered, the")
    assert "last with HTTP 400: no content_filter); remove such texts from the corpus" in line
    # Beside the row itself: refusals that came before the last of the answered texts, and texts that were in flight.
    assert asked(server) <= before + IN_A_ROW + 2 * OPTIONS["concurrency"]


def test_a_half_of_refused_texts_does_not_end_the_writing(server):
    requests = [Request(f"text number {number}", True, 0) for number in range(400)]
    server.rule = on(*range(0, 400, 2), step=AZURE)
    assert sum(answer.fault == "filtered" for answer in written(server, requests)) == 200


def test_texts_that_are_tried_again_do_not_end_the_writing(server):
    server.rule = lambda text: AZURE if text.startswith("again") else None
    with opened(server, retries=2) as backend:
        backend.write(REQUESTS)
        answers = backend.write([Request(f"again {number}", True, 0, again=True) for number in range(60)])
    assert {answer.fault for answer in answers} == {"filtered"}


# --- thinking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": "[THINK]so, the user", "role": "assistant"}},
        {"message": {"content": None, "reasoning_content": "so, the user"}},
        {"message": {"content": ""}},
        {"message": {"content": "Okay, the user wants me to rewrite"}},
    ],
    ids=["marks", "field", "nothing", "aloud"],
)
@pytest.mark.parametrize("concurrency", [1, 32])
def test_a_model_that_only_thinks_costs_a_few_dozen_requests(server, choice, concurrency):
    server.always = {"choice": {**choice, "finish_reason": "length"}}
    line = told(server, concurrency=concurrency)
    assert f"{IN_A_ROW} texts in a row are thinking without an answer within max_new_tokens (8)" in line
    assert "enable_thinking: false" in line and "raise max_new_tokens" in line
    assert asked(server) == IN_A_ROW


def test_few_texts_cost_no_more_than_that_with_all_their_tries(server):
    server.always = {"choice": {"message": {"content": "<think>so"}, "finish_reason": "length"}}
    with opened(server) as backend, pytest.raises(PromptpoolError, match="thinking without an answer"):
        for attempt in range(6):
            backend.write([Request(request.text, True, attempt, again=attempt > 0) for request in REQUESTS[:10]])
    assert asked(server) == IN_A_ROW


def test_a_server_that_writes_nothing_ends_the_writing(server):
    server.always = {"choice": {"message": {"content": None}}}
    assert f"gives no answer to {IN_A_ROW} texts in a row (empty)" in told(server)
