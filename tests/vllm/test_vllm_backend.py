"""vLLM writes what transformers writes, the same whatever the order, and dies with nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import NANO, OPTIONS, SAMPLING, workers
from promptpool.errors import PromptpoolError
from promptpool.generation.backend import Request, WriterSetup, Written, open_backend, tidy
from promptpool.generation.inside_vllm.seeded_draws import nucleus
from promptpool.generation.vllm_backend import VllmBackend, interpreter, surroundings
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer

TOPICS = ("the sum of an array", "a sorted list", "the shortest path", "a random number", "the parsed file")
REQUESTS = [
    Request(f"Return {topic}{' along an axis' * (number % 7)}.\n\n", False, 1000 + number)
    for number, topic in enumerate(TOPICS * 24)
]


def opened(model: str = NANO, needs_chat: bool = False, options: dict | None = None, **sampling) -> VllmBackend:
    return open_backend(
        "vllm",
        WriterSetup(model, None, {**SAMPLING, **sampling}, {**OPTIONS, **(options or {})}, needs_chat=needs_chat),
    )


def told(action) -> str:
    with pytest.raises(PromptpoolError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Told(NamedTuple):
    """What one worker wrote for REQUESTS."""

    answers: list[Written]
    turned: list[Written]  # of the same in reverse order, put straight
    alone: list[Written]  # of the first few, one at a time
    progress: list[tuple[int, int]]  # of the first
    facts: dict


@pytest.fixture(scope="module")
def written() -> Told:
    seen: list[tuple[int, int]] = []
    with opened() as backend:
        straight = backend.write(REQUESTS, lambda done, total: seen.append((done, total)))
        turned = backend.write(REQUESTS[::-1])[::-1]
        alone = [backend.write([request])[0] for request in REQUESTS[:20]]
    return Told(straight, turned, alone, seen, backend.facts)


def test_it_writes(written):
    answers, seen = written.answers, written.progress
    assert len(answers) == len(REQUESTS) and len({answer.text for answer in answers}) > 0.8 * len(REQUESTS)
    assert all(0 < answer.tokens <= 24 and answer.prompt_tokens > 3 for answer in answers)
    assert all(answer.finished for answer in answers if answer.tokens < 24)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (120, 120)


def test_equal_seeds_write_equal_texts_in_another_order(written):
    assert written.answers == written.turned


def test_a_text_is_the_same_alone_and_among_others(written):
    same = sum(one == other for one, other in zip(written.alone, written.answers[: len(written.alone)], strict=True))
    assert same >= len(written.alone) - 1  # a product of one row may round otherwise, and tip a draw


def test_a_worker_on_a_cpu_draws_with_our_processor(written):
    assert written.facts["device"] != "cpu" or written.facts["draws"] == "seeded_draws"


def test_vllms_sampler_takes_the_drawn_tokens_wherever_a_request_lies():
    """vLLM's own V1 sampler, made-up scores: shares by chi-square, and places that requests leave, fill and swap."""
    draws, warm, top_p = 20_000, 0.7, 0.8
    scores = torch.randn(60, generator=torch.Generator().manual_seed(1))
    program = Path(__file__).with_name("draw_with_vllm.py")
    environment = {**surroundings(os.environ), "VLLM_LOGGING_LEVEL": "ERROR"}
    environment.pop("PYTHONSAFEPATH")
    answer = subprocess.run(
        [interpreter(None), str(program), str(draws), str(warm), str(top_p)], input=json.dumps(scores.tolist()),
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-4000:]
    seen = json.loads(answer.stdout.splitlines()[-1])
    assert seen["together"] == seen["alone"] and seen["moved"] == seen["alone_later"]
    assert seen["greedy"][0] == seen["greedy"][1] and len(set(seen["together"])) > 2

    shares = np.exp(scores.double().numpy() / warm)
    shares /= shares.sum()
    order = np.argsort(-shares)
    kept = order[: np.searchsorted(shares[order].cumsum(), top_p) + 1]
    counts = np.array(seen["counts"])
    assert counts[kept].sum() == draws
    assert chisquare(counts[kept], draws * shares[kept] / shares[kept].sum()).pvalue > 1e-3


@pytest.mark.parametrize("how", [{}, {"temperature": 1.3, "top_p": 1.0}], ids=["cut", "whole"])
def test_equal_seeds_write_what_transformers_writes(how):
    """Both backends draw by the same numbers, so that texts differ only where a rounding tips a draw."""
    with opened(**how) as backend:
        ours = backend.write(REQUESTS)
    setup = WriterSetup(NANO, None, {**SAMPLING, **how}, {"batch_size": 24}, needs_chat=False)
    with open_backend("transformers", setup) as backend:
        theirs = backend.write(REQUESTS)
    equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
    assert equal >= 0.97 * len(REQUESTS), f"{equal} of {len(REQUESTS)}"
    assert len({answer.text for answer in ours}) > 0.8 * len(REQUESTS)


def test_its_likeliest_text_is_that_of_transformers():
    with opened(temperature=0) as backend:
        ours = backend.write(REQUESTS[:40])
    settings = {**SAMPLING, "temperature": 0}
    with open_backend(
        "transformers", WriterSetup(NANO, None, settings, {"batch_size": 8}, needs_chat=False)
    ) as backend:
        assert ours == backend.write(REQUESTS[:40])


def test_its_draws_follow_the_shares_within_top_p(no_orphans):
    draws, top_p, warm = 4000, 0.8, 1.5
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    model = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    prompt = "Compute the"
    with torch.inference_mode():
        logits = model(**tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)).logits[0, -1:]
    tokens, shares = nucleus(torch.softmax(logits / warm, -1), top_p, logits.shape[-1])
    expected: Counter = Counter()
    for token, share in zip(tokens[0].tolist(), (shares[0] / shares[0].sum()).tolist(), strict=True):
        expected[tidy(tokenizer.decode([token], skip_special_tokens=True))] += share
    with opened(max_new_tokens=1, temperature=warm, top_p=top_p) as backend:
        counted = Counter(answer.text for answer in backend.write([Request(prompt, False, n) for n in range(draws)]))
    assert set(counted) <= {text for text, share in expected.items() if share > 0}
    likely, share = expected.most_common(1)[0]
    assert share < 0.95 and abs(counted[likely] / draws - share) < 5 * (share * (1 - share) / draws) ** 0.5


def test_one_text_too_long_costs_no_other(no_orphans):
    long = Request("Return the sum of an array. " * 5000, False, 1)
    with opened() as backend:
        first, empty, last = backend.write([REQUESTS[0], long, REQUESTS[1]])
    assert empty.text == "" and empty.prompt_tokens > 1024 and not empty.finished
    assert first.text and last.text


def test_a_chat_model_is_asked_through_its_template(chatty, no_orphans):
    with opened(chatty, needs_chat=True) as backend:
        chat, plain = backend.write([Request("hello", True, 1), Request("hello", False, 1)])
    # "[user] hello\n[assistant]" against BOS and "hello".
    assert chat.prompt_tokens > plain.prompt_tokens + 4
    with open_backend(
        "transformers", WriterSetup(chatty, None, SAMPLING, {"batch_size": 8}, needs_chat=True)
    ) as backend:
        assert chat.prompt_tokens == len(backend._ids(Request("hello", True, 1)))


def test_a_missing_chat_template_is_named(no_orphans):
    started = time.monotonic()
    assert "no chat template" in told(lambda: opened(needs_chat=True))
    assert time.monotonic() - started < 20  # before vLLM is started


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_is_told_in_one_line_and_leaves_nothing(sent):
    def kill_when_half_done(done: int, total: int) -> None:
        if done:
            os.kill(backend._worker.pid, sent)

    with opened(max_new_tokens=200) as backend:
        line = told(lambda: backend.write(REQUESTS * 4, kill_when_half_done))
        assert f"its worker was ended by {sent.name}" in line and "job's log" in line
        assert workers() == []


def test_a_parent_that_is_killed_takes_its_worker_along(tmp_path):
    script = textwrap.dedent(f"""
        import json, sys
        from promptpool.generation.backend import Request, WriterSetup, open_backend
        sampling = {{"max_new_tokens": 400, "temperature": 1.0, "top_p": 1.0}}
        options = json.loads({json.dumps(OPTIONS)!r})
        backend = open_backend("vllm", WriterSetup({NANO!r}, None, sampling, options, needs_chat=False))
        requests = [Request(f"Return {{n}}.\\n\\n", False, n) for n in range(2000)]
        backend.write(requests, lambda done, total: print(backend._worker.pid, flush=True))
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(NANO).parents[1])}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        worker = int(parent.stdout.readline())
        assert worker in workers()
        parent.kill()
        parent.wait()
        ended = time.monotonic() + 10
        while workers() and time.monotonic() < ended:
            time.sleep(0.1)
        assert workers() == []
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_want_of_memory_is_told_with_its_mend(no_orphans):
    # One block of keys and values of this model does not fit.
    line = told(lambda: opened(options={"kv_cache_gib": 0.0001, "gpu_memory": 0.0001}))
    assert "vLLM stopped: " in line and "kv_cache_gib" in line


def test_an_interpreter_without_vllm_is_told(no_orphans):
    line = told(lambda: opened(options={"python": sys.executable}))
    assert "No module named 'vllm'" in line
