"""Local backends and models that think: special tokens that mark it, templates that begin it, an end that is early."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from promptpool.errors import PromptpoolError
from promptpool.generation import vllm_backend as generation_vllm
from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.generation.checks import kept_marks, template_thinks
from promptpool.generation.inside_vllm.vllm_worker import Engine
from promptpool.generation.thinking import answer_of
from promptpool.generation.transformers_backend import TransformersBackend
from promptpool.generation.watch import IN_A_ROW
from tiny import CHAT, tiny_model, tiny_tokenizer
from tokenizers import AddedToken

SAMPLING = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.95}
REQUESTS = [Request(f"Rewrite: the oven number {n} is hot", True, n) for n in range(60)]
FORMATS = {
    "magistral": "[THINK]the oven[/THINK]it is hot",
    "cohere": "<|START_THINKING|>the oven<|END_THINKING|><|START_RESPONSE|>it is hot<|END_RESPONSE|>",
    "gpt-oss": "<|channel|>analysis<|message|>the oven<|end|><|start|>assistant<|channel|>final<|message|>it is hot",
    "gemma": "<|channel>thought\nthe oven<channel|>it is hot",
    "pangu": "[unused16]the oven[unused17]it is hot",
}
MARKS = {
    "magistral": ["[THINK]", "[/THINK]"],
    "cohere": ["<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"],
    "gpt-oss": ["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>"],
    "gemma": ["<|channel>", "<channel|>"],
    "pangu": ["[unused16]", "[unused17]"],
}


def marked(kind: str):
    """A tokenizer whose marks are special tokens, as that model's are: `decode` leaves them out."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(
        [AddedToken(text, special=True, normalized=False) for text in MARKS[kind]], special_tokens=True
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def model(folder: Path, template: str = CHAT, tokenizer=None) -> str:
    tiny_model(folder, chat=True)
    tokenizer = tokenizer or tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)


def local(path: str, monkeypatch, answer: str, end: bool = True) -> TransformersBackend:
    """A backend whose model writes that answer to everything; `batches` has the size of each batch."""
    backend = open_backend(
        "transformers", WriterSetup(path, None, SAMPLING, {"batch_size": 8}, device="cpu", needs_chat=True)
    )
    ids = backend.tokenizer(answer, add_special_tokens=False)["input_ids"] + backend.ends[:1] * end
    backend.batches = []

    def generate(prompts, seeds):
        backend.batches.append(len(prompts))
        return [ids] * len(prompts)

    monkeypatch.setattr(backend, "_generate", generate)
    return backend


@pytest.mark.parametrize("kind", FORMATS)
def test_special_tokens_that_mark_thinking_are_seen_and_cut(tmp_path, monkeypatch, kind):
    backend = local(model(tmp_path / "m", tokenizer=marked(kind)), monkeypatch, FORMATS[kind])
    (answer,) = backend.write(REQUESTS[:1])
    assert (answer.text, answer.finished, answer.fault) == ("it is hot", True, None)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_vllm_worker_keeps_them_too(kind):
    tokenizer = marked(kind)
    engine = Engine.__new__(Engine)
    engine.tokenizer = tokenizer
    engine.marks, engine.dropped = kept_marks(tokenizer)
    end = [tokenizer.eos_token_id]
    ids = tokenizer(FORMATS[kind], add_special_tokens=False)["input_ids"]
    wordless = tokenizer.decode(ids, skip_special_tokens=True)
    assert wordless != FORMATS[kind]
    told = engine._text(SimpleNamespace(token_ids=ids + end, text=wordless))
    assert answer_of(told) == ("it is hot", True)
    plain = SimpleNamespace(token_ids=tokenizer("it is hot")["input_ids"] + end, text="as vLLM has it")
    assert engine._text(plain) == "as vLLM has it"


@pytest.mark.parametrize("draws", [True, False])
def test_a_request_of_vllm_is_greedy_where_its_processor_draws_and_seeded_where_vllm_does(draws):
    engine = Engine.__new__(Engine)
    engine.draws, engine.sampling = draws, {"max_tokens": 12, "temperature": 0.7, "top_p": 0.9}
    asked = engine._sampling(5)
    if draws:  # the V1 runner
        draw = {"seed": 5, "steps": 12, "temperature": 0.7, "top_p": 0.9}
        assert asked == {"temperature": 0, "max_tokens": 12, "extra_args": {"draw": draw}}
    else:  # the V2 runner
        assert asked == {"seed": 5, "max_tokens": 12, "temperature": 0.7, "top_p": 0.9}


@pytest.mark.parametrize("opening", ["<think>\n", "[THINK]", "<|START_THINKING|>"])
def test_a_template_that_begins_the_thinking_is_seen_and_its_end_is_looked_for(tmp_path, monkeypatch, opening):
    path = model(tmp_path / "m", CHAT + opening)
    backend = local(path, monkeypatch, "the oven, so" + opening.replace("<t", "</t").strip(), end=False)
    assert backend.thinks and template_thinks(backend.tokenizer)
    (cut,) = local(path, monkeypatch, "the oven, so", end=False).write(REQUESTS[:1])
    assert (cut.text, cut.fault, cut.finished) == ("", "thinking", False)
    (plain,) = local(path, monkeypatch, "the oven, so", end=False).write([Request("the oven", False, 1)])
    assert (plain.text, plain.fault) == ("the oven, so", None)


def test_a_template_that_begins_and_ends_the_thinking_does_not_begin_it(tmp_path, monkeypatch):
    backend = local(model(tmp_path / "m", CHAT + "<think>\n\n</think>\n\n"), monkeypatch, "it is hot")
    assert not backend.thinks and backend.write(REQUESTS[:1])[0].text == "it is hot"


def test_a_model_that_only_thinks_is_ended_early(tmp_path, monkeypatch):
    backend = local(model(tmp_path / "m"), monkeypatch, "<think>the oven", end=False)
    with pytest.raises(PromptpoolError) as caught:
        backend.write(REQUESTS)
    assert f"the first {IN_A_ROW} texts are thinking without an answer within max_new_tokens (12)" in str(caught.value)
    assert "or raise max_new_tokens" in str(caught.value) and sum(backend.batches) == IN_A_ROW


def test_the_first_texts_are_a_sample_of_no_length(tmp_path, monkeypatch):
    backend = local(model(tmp_path / "m"), monkeypatch, "it is hot")
    seen = []
    real = backend._batch
    monkeypatch.setattr(backend, "_batch", lambda prompts, seeds: seen.append(list(seeds)) or real(prompts, seeds))
    requests = [Request("the oven " * (1 + n), True, n) for n in range(60)]
    backend.write(requests)
    assert sorted(seed for batch in seen[:3] for seed in batch) == list(range(24)) and seen[3][0] == 59
    seen.clear()
    backend.write(requests)  # a model that has written once is no longer tried out
    assert seen[0][0] == 59


def test_a_prompt_without_room_has_a_fault_of_its_own(tmp_path, monkeypatch):
    backend = local(model(tmp_path / "m"), monkeypatch, "it is hot")
    backend.context = 100
    answers = backend.write([Request("the oven and the bread " * 100, True, n) for n in range(60)])
    assert {(answer.fault, answer.settled, answer.tokens) for answer in answers} == {("too-long", True, 0)}
    assert backend.write(REQUESTS[:1])[0].fault is None


WORKER = """
import json, sys
log = open(sys.argv[0] + ".log", "a")
answer = {answer!r}
for line in sys.stdin:
    message = json.loads(line)
    log.write(line)
    log.flush()
    if "open" in message:
        print(json.dumps({{"ready": {{}}}}), flush=True)
    elif "write" in message:
        rows = message["write"]
        done = [[n, answer, 5, 4, False] if "long" not in row[0] else [n, "", 900, 0, False]
                for n, row in enumerate(rows)]
        print(json.dumps({{"done": done[::-1]}}), flush=True)
    else:
        break
"""


def vllm(tmp_path: Path, monkeypatch, answer: str, template: str = CHAT):
    """The backend with a stand-in for vLLM's worker; and what the worker was asked."""
    code = tmp_path / "worker.py"
    code.write_text(WORKER.format(answer=answer))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{code}"\n')
    python.chmod(0o755)
    path = model(tmp_path / "m", template)
    options = {"python": str(python)}
    backend = open_backend("vllm", WriterSetup(path, None, SAMPLING, options, needs_chat=True))
    return backend, lambda: [json.loads(line) for line in Path(f"{code}.log").read_text().splitlines()]


def test_vllm_texts_come_in_order_with_their_ends(tmp_path, monkeypatch):
    backend, asked = vllm(tmp_path, monkeypatch, "<think>hm</think>it is hot")
    with backend:
        requests = [*REQUESTS[:30], Request("long", True, 1)]
        answers = backend.write(requests)
        backend.write(requests)
    assert [answer.text for answer in answers] == ["it is hot"] * 30 + [""]
    assert (answers[30].fault, answers[30].prompt_tokens) == ("too-long", 900)
    assert not answers[0].finished and answers[0].fault is None
    assert [len(message.get("write", ())) for message in asked()] == [0, 24, 7, 31, 0]


@pytest.mark.parametrize(
    ("answer", "template"), [("<think>hm", CHAT), ("hm, so", CHAT + "<think>\n")], ids=["marks", "template"]
)
def test_a_vllm_model_that_only_thinks_is_ended_early(tmp_path, monkeypatch, answer, template):
    backend, asked = vllm(tmp_path, monkeypatch, answer, template)
    with pytest.raises(PromptpoolError, match=r"thinking without an answer within max_new_tokens \(12\)"):
        backend.write(REQUESTS)
    assert sum(len(message.get("write", ())) for message in asked()) == IN_A_ROW
    assert backend._worker.poll() is not None  # nothing goes on running
    assert generation_vllm.IN_A_ROW == IN_A_ROW
