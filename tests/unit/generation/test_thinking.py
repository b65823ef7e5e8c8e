"""A model's thinking is cut from its answer, whatever marks it; a text that only mentions such marks stays whole."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promptpool.generation.backend import Request, Written, tidy, written
from promptpool.generation.thinking import MARKS, answer_of, opens_thinking

ANSWER = "Bread is baked in it.\n\nIt is hot."
PAIRS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<Thought>", "</Thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("[unused16]", "[unused17]"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("Here is my thought process:", "Here is my response:"),
]
NAMED = pytest.mark.parametrize(("start", "end"), PAIRS, ids=[start.strip() for start, _ in PAIRS])


@NAMED
@pytest.mark.parametrize("space", ["", " ", "\n", "\n\n"])
def test_the_answer_follows_the_thinking(start, end, space):
    raw = f"{space}{start}{space}The user wants a sentence.\nOr two?{space}{end}{space}{ANSWER}{space}"
    assert answer_of(raw) == (ANSWER, True)


@NAMED
@pytest.mark.parametrize("rest", ["", "\n", " never done", "\nnever\n\ndone"])
def test_thinking_that_is_never_closed_has_no_answer(start, end, rest):
    assert answer_of(start + rest) == ("", True)


@NAMED
def test_thinking_without_an_answer_behind_it_has_none(start, end):
    assert answer_of(f"{start}\nhm\n{end}\n") == ("", True)


@NAMED
@pytest.mark.parametrize("space", ["", "\n", "\n\n"])
def test_a_template_may_have_opened_the_thinking_itself(start, end, space):
    raw = f"So, what is it.{space}{end}{space}{ANSWER}"
    assert answer_of(raw, opened=True) == (ANSWER, True)
    if not start.startswith("Here is"):  # a sentence of plain words
        assert answer_of(raw) == (ANSWER, True)
    assert answer_of("So, what is it. Never done", opened=True) == ("", True)


@NAMED
def test_a_template_that_opens_the_thinking_is_known(start, end):
    if "|>final<|" in end:
        start = f"<|start|>assistant{start}"
    assert opens_thinking(f"[user] Say it\n[assistant]{start}\n")
    assert not opens_thinking(f"[user] Say it\n[assistant]{start}\n\n{end}\n\n")
    assert not opens_thinking("[user] Say it\n[assistant]")


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("<think>a</think><think>b</think>It is hot.", "It is hot."),
        ("<think>a<think>b</think>It is hot.", "It is hot."),
        ("<think>a</think>b</think>It is hot.", "It is hot."),
        ("<thinking>a</think>It is hot.", "It is hot."),
        ("<think>\n\n</think>\n\nIt is hot.", "It is hot."),
        ("<think>\nhm\n</think>\n<answer>\nIt is hot.\n</answer>", "It is hot."),
        ("<think>hm</think><response>It is hot.</response>", "It is hot."),
        ("<Thought>hm</Thought>\n<Output>It is hot.</Output>", "It is hot."),
        ("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>It is hot.<|END_RESPONSE|>", "It is hot."),
        ("<|START_RESPONSE|>It is hot.<|END_RESPONSE|>", "It is hot."),
        ("<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>It is hot.<|end_of_solution|>", "It is hot."),
        ("It was cold.\n<think>\nhm\n</think>\nIt is hot.", "It was cold.\n\nIt is hot."),
        ("It was cold.\n<think>\nhm, never done", "It was cold."),
        ("<|start|>assistant<|channel|>analysis<|message|>hm<|end|>", ""),
        ("<|channel|>final<|message|>It is hot.<|return|>", "It is hot."),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
            "<|start|>assistant<|channel|>final <|constrain|>text<|message|>It is hot.<|end|>",
            "It is hot.",
        ),
        ("analysisWe need a sentence.assistantfinalIt is hot.", "It is hot."),  # a server that drops special tokens
        ("analysisWe need a sentence, never done", ""),
    ],
)
def test_each_way_to_think_has_its_answer(raw, answer):
    assert answer_of(raw) == (answer, True)


@pytest.mark.parametrize(
    "text",
    [
        "1 < 2 and a <b>tag</b>",
        "Remove the <think> block and return what follows.",
        "It looks for <think> and </think> in the answer, and cuts what lies between.",
        "Return the text after </think> if there is one.",
        "Strip `</think>` from the end.",
        'The tags are "<think>" and "</think>".',
        "Everything between '<think>...</think>' is dropped, and the rest is kept.",
        "The parser knows [THINK] and [/THINK], too.",
        "Channels such as <|channel|>analysis are dropped.",
        "The tag (</think>) ends it.",
        "It ends with </think>. Then comes the answer.",
        "It ends with </think>",
        "`<think>` opens a block.",
        "analysis of variance, in a table",
        "Analysis: It is hot.",
        "I think>so",
        "Here is my response: it is hot.",
    ],
)
def test_a_text_that_mentions_the_marks_stays_whole(text):
    assert answer_of(text) == (text, False)


@pytest.mark.parametrize(
    "text",
    [
        "<think> and </think> enclose the thoughts of a model.",
        "<think> is where a model's thoughts begin.",
        "[THINK] opens a block of thoughts.",
        "Cut before\n</think> is what this does.",
        "For example:\n<think>\nhm\n</think>\nan answer",
        "<|channel|>analysis is one of three channels.",
    ],
)
def test_of_a_text_about_the_marks_the_positive_may_begin_with_them(text):
    asked = f"Say it simply: Splits <think>, [THINK] and <|channel|>analysis from the answer. {text}"
    assert answer_of(text, asked=asked) == (text, False)


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("<think>\nhm\n</think>\n\nA <think> block is cut.", "A <think> block is cut."),
        ("<think>\nThe text is about </think> and more\n</think>\n\nA block is cut.", "A block is cut."),
        ("<think>\nnever done", ""),
        ("hm, then\n</think>\n\nA block is cut.", "A block is cut."),
    ],
)
def test_of_a_text_about_the_marks_thinking_is_cut_all_the_same(raw, answer):
    assert answer_of(raw, asked="Say it simply: the <think> block is cut up to </think>.") == (answer, True)


@pytest.mark.parametrize(
    "aloud",
    [
        "Okay, the user wants me to rewrite the sentence. First, I",
        "Hmm, let me think about how to say this. The sentence",
        "We need to rewrite the sentence with more",
    ],
)
def test_thinking_aloud_that_is_cut_is_thinking(aloud):
    chat, plain = (Request("Rewrite: the oven is hot", kind, 1) for kind in (True, False))
    assert written(aloud, chat, 5, 8, False) == Written("", 5, 8, False, "thinking")
    assert written(aloud, chat, 5, 8, True) == Written(aloud, 5, 8, True)  # the filters judge it
    assert written(aloud, plain, 5, 8, False) == Written(aloud, 5, 8, False)


@pytest.mark.parametrize("raw", ["", " \n"])
def test_an_empty_text_is_no_thinking(raw):
    assert written(raw, Request("Rewrite: the oven", True, 1), 5, 1, True).fault is None


PIECES = st.lists(
    st.sampled_from([*MARKS, "so", " ", "\n", "</think>", "<think>", "analysis", "assistantfinal", "A", "\ud800", "."]),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(PIECES, PIECES, st.booleans())
def test_no_mixture_of_marks_breaks_it_or_is_thought_twice(raw, asked, opened):
    answer, thought = answer_of(raw, asked=asked, opened=opened)
    assert thought or answer == raw.strip()
    assert tidy(raw).encode("utf-8") is not None
    assert len(answer) <= len(raw)


@pytest.mark.parametrize(
    "piece",
    ["<think>", "</think>", "<think>x</think>", "a\n<think>\nb\n</think>\n", "[THINK]", "<|channel|>", "Here ", "< "],
)
def test_a_long_run_of_marks_takes_no_time(piece):
    started = time.monotonic()
    for text in (piece * 20_000, "a" + piece * 20_000):
        for more in ({}, {"opened": True}, {"asked": "<think> </think> [THINK] <|channel|>"}):
            answer_of(text, **more)
    assert time.monotonic() - started < 20  # a square of the length would take hours
