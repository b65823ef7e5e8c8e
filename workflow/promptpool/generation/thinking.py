"""Separates a model's thinking from its answer, by the marks around the thinking.

The marks come from the reasoning parsers of vLLM and SGLang and from model cards. Local backends keep marks that are
special tokens (`MARKS`); a server may have removed them.
"""

import re
from functools import cache

# How thinking begins and ends, as regular expressions. Case is ignored.
THINKING_TAGS = r"(?:\w{1,12}:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
BLOCKS = (
    (
        rf"<{THINKING_TAGS}\s?>",
        rf"</{THINKING_TAGS}\s?>",
    ),  # DeepSeek, Qwen, GLM, Seed-OSS, EXAONE, Marco-o1 and many others
    (r"\[THINK\]", r"\[/THINK\]"),  # Magistral
    (r"◁think▷", r"◁/think▷"),  # Kimi
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Cohere
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # OpenThinker, Sky-T1
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    (r"<\|think:start\|>", r"<\|think:end\|>"),  # Solar
    (r"<\|plamo:begin_think:plamo\|>", r"<\|plamo:end_think:plamo\|>"),
    (r"<\|channel>(?:thought\b)?", r"<channel\|>"),  # Gemma 4
    (r"\[unused16\]", r"\[unused17\]"),  # Pangu
    (r"Here(?:'s| is) my thought process:", r"Here(?:'s| is) my response:"),  # Granite 3.2
)
WORDED = len(BLOCKS) - 1  # plain words, whose end alone proves nothing
# gpt-oss: channels named analysis and commentary, then one named final.
CHANNEL = r"(?:<\|start\|>\s*\w*\s*)?<\|channel\|>\s*\w+[^<]{0,40}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
FINAL = r"<\|channel\|>\s*final\b[^<]{0,40}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
HARMONY_END = r"<\|(?:end|return|call|start)\|>"
# The same if a server has dropped the special tokens: "analysisWe need ... assistantfinalThe answer".
FLAT, FLAT_FINAL = r"(?:assistant)?analysis(?=[A-Z\"'(])", r"assistantfinal"
# What may surround the answer that follows.
AROUND = (
    (r"<answer>", r"</answer>"),
    (r"<response>", r"</response>"),
    (r"<output>", r"</output>"),
    (r"<\|START_(?:RESPONSE|TEXT)\|>", r"<\|END_(?:RESPONSE|TEXT)\|>"),
    (r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"),
)
SURE = (AROUND[3], AROUND[4])  # no text contains these, so they are removed even without thinking before them
# Special tokens that are kept when a text is decoded, if it contains one of the first group.
MARKS = (
    "<think>", "</think>", "<seed:think>", "</seed:think>", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷",
    "<|START_THINKING|>", "<|END_THINKING|>", "<|begin_of_thought|>", "<|end_of_thought|>", "<|inner_prefix|>",
    "<|inner_suffix|>", "<|think:start|>", "<|think:end|>", "<|channel|>", "<|channel>", "<channel|>", "[unused16]",
    "[unused17]",
)  # fmt: skip
BESIDE_MARKS = (
    "<|start|>", "<|message|>", "<|end|>", "<|constrain|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>",
    "<|END_TEXT|>", "<|begin_of_solution|>", "<|end_of_solution|>",
)  # fmt: skip
QUOTES = "`'\"([{<“”‘’«»"


def answer_of(raw: str, *, asked: str = "", opened: bool = False) -> tuple[str, bool]:
    """(the answer, whether there was thinking). The answer is stripped, and "" if everything is thinking.

    asked: the request. If it mentions a mark, that mark counts as thinking only on a line of its own, as models write
    it. opened: whether the chat template has begun the thinking, so that the text holds only its end. A mark in the
    middle of a sentence is a mention, and stays.
    """
    rest, thought = _after_channels(raw.strip(), asked, opened)
    if thought:
        return rest.strip(), True
    rest, thought = _after_blocks(rest, asked, opened)
    for start, end in AROUND if thought else SURE:
        if found := _pattern(rf"\s*(?:{start})(.*?)(?:(?:{end})\s*)?\Z").match(rest):
            rest, thought = found[1], True
    return rest.strip(), thought


def opens_thinking(prompt: str) -> bool:
    """Whether a chat's prompt, as the template ends it, has begun the model's thinking and not ended it."""
    last = max((found.end() for found in _pattern(CHANNEL).finditer(prompt)), default=0)
    if last and not prompt[last:].strip():
        return not _pattern(rf"(?:{FINAL})\s*\Z").search(prompt)
    for start, end in BLOCKS:
        begun = max((found.end() for found in _pattern(start).finditer(prompt)), default=None)
        if begun is not None and not prompt[begun:].strip() and not _pattern(end).search(prompt, begun):
            return True
    return False


def _after_channels(text: str, asked: str, opened: bool) -> tuple[str, bool]:
    """For gpt-oss: the content of its last final channel."""
    known = _mentioned(r"<\|channel\|>", asked)
    starts = _pattern(CHANNEL).match(text)
    finals = [] if known and not (starts or opened) else [*_pattern(FINAL).finditer(text)]
    if finals:
        return _pattern(HARMONY_END).split(text[finals[-1].end() :], maxsplit=1)[0], True
    if starts or (not known and _pattern(r"(?:<\|start\|>\s*\w*\s*)?<\|channel\|>").match(text)):
        return "", True
    if flat := re.match(FLAT, text):  # case-sensitive
        return text[flat.end() :].rpartition(FLAT_FINAL)[2] if FLAT_FINAL in text else "", True
    return text, False


def _after_blocks(text: str, asked: str, opened: bool) -> tuple[str, bool]:
    """The text without blocks at its start, blocks on lines of their own, and anything before a lone end mark."""
    thought = False
    for number, (start, end) in enumerate(BLOCKS):
        known = _mentioned(start, asked) or _mentioned(end, asked)
        text, cut = _without_first(text, start, end, known)
        if not cut:
            place = _end_alone(text, start, end, known, opened) if opened or number != WORDED else None
            text, cut = (text[place:].lstrip(), True) if place is not None else (text, False)
        if not known and number != WORDED:
            text, more = _without_lines(text, start, end)
            cut = cut or more
        thought = thought or cut
    return ("", True) if opened and not thought else (text, thought)


def _without_first(text: str, start: str, end: str, known: bool) -> tuple[str, bool]:
    """The text without the blocks at its start."""
    cut = False
    while begun := _pattern(start).match(text):
        if known and not re.match(r"[ \t]*(?:\n|\Z)", text[begun.end() :]):
            break
        ends = _pattern(rf"(?<=\n)(?:{end})(?=\s*(?:\n|\Z))" if known else end)
        closed = ends.search(text, begun.end())
        text, cut = (text[closed.end() :].lstrip() if closed else ""), True
        if closed and not known:
            text = _without_end(text, end)
    return text, cut


def _without_end(text: str, end: str) -> str:
    """The text after a second end mark of a block that has already ended, unless that mark is only mentioned."""
    places = [found.end() for found in _pattern(end).finditer(text) if not _mention(text, found)]
    return text[places[-1] :].lstrip() if places else text


def _end_alone(text: str, start: str, end: str, known: bool, opened: bool) -> int | None:
    """Where the answer starts after an end mark without a start mark; None if no thinking ends there."""
    found = [*_pattern(end).finditer(text)]
    if not found or (not opened and _pattern(start).search(text, 0, found[-1].start())):
        return None
    if known:
        own = [one for one in found if all(side[:1] in ("", "\n") for side in _beside(text, one))]
        return own[0].end() if own else found[0].end() if opened else None
    real = [one for one in found if not _mention(text, one)]
    return real[-1].end() if real else found[-1].end() if opened else None


def _without_lines(text: str, start: str, end: str) -> tuple[str, bool]:
    """The text without blocks whose start is alone on a line. A block that is never closed extends to the end."""
    left, count = _pattern(rf"^[ \t]*(?:{start})[ \t]*$.*?(?:{end}|\Z)", re.MULTILINE).subn("", text)
    return left, count > 0


def _mention(text: str, found: re.Match) -> bool:
    """Whether a mark is part of a sentence: quoted, or with a space before it and more of the sentence after it."""
    before, after = _beside(text, found)
    if (before and before in QUOTES) or (after and after[0] in QUOTES + ",.;:)]}?!"):
        return True
    if before in (" ", "\t"):
        return not after or after[0] in " \t" or (after[0] == "\n" and after != "\n\n")
    return False


def _beside(text: str, found: re.Match) -> tuple[str, str]:
    """The character before a mark and the two after it."""
    return text[max(0, found.start() - 1) : found.start()], text[found.end() : found.end() + 2]


def _mentioned(mark: str, asked: str) -> bool:
    return bool(asked) and bool(_pattern(mark).search(asked))


@cache
def _pattern(expression: str, flags: int = 0) -> re.Pattern:
    return re.compile(expression, re.IGNORECASE | re.DOTALL | flags)
