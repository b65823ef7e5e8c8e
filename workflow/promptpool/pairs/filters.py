"""The reasons to reject a positive. Each has a name, and is counted."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from rapidfuzz.distance import Levenshtein

from ..templates import SLOT
from ..text.boilerplate import boilerplate
from ..text.language import other_language, other_script
from ..text.normalisation import normalise
from ..text.words import word_count, words

# In the order of the checks. The first four come from a backend, for a text that it could not write
# (generation.backend.FAULTS); the last five need the whole set of pairs. `judge_pairs` returns neither.
REASONS = (
    "too-long", "refused", "filtered", "failed", "empty", "short", "thinking", "refusal", "boilerplate", "leaked",
    "script", "language", "echo", "repeats", "length", "cut", "duplicate", "near-duplicate", "contaminated", "semantic",
    "round-trip",
)  # fmt: skip

ECHO_CHARACTERS = 20_000  # the most that are compared: a longer text that comes back is recognised by then
LEAK_SHARE = 0.5  # of the word triples of one sentence of the instruction
LEAK_TRIPLES = 3  # and at least so many of them: five words in a row
REPEATED_SHARE = 0.5
PAIRS_A_CHUNK = 2_000
CLOSING = "\"'`”’»)]}*_」』）】"  # quotes, brackets and emphasis after the end of a sentence
ENDS = tuple(".!?…‽。！？｡．؟۔।॥።՞։")

Triple = tuple[str, str, str]
Leaks = Mapping[str, Sequence[frozenset[Triple]]]


def judge_pairs(
    texts: Sequence[str],
    positives: Sequence[str],
    styles: Sequence[str],
    filters: Mapping,
    instructions: Mapping[str, str],
    *,
    echoing: frozenset[str] = frozenset(),
    cut: Sequence[bool] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[str | None]:
    """The first reason to reject each pair; None for a good one. Rows are judged one by one: see REASONS.

    texts, positives, styles: n each; filters: `pairs.*.filters` of the config; instructions: style -> template with
    `{text}`, for styles that have one. Lengths are in words, as `words.word_count` counts them.

    `empty`: no word. `short`: fewer than `min_words`. `thinking`, `refusal`, `boilerplate`: see
    text/boilerplate.yaml.
    `leaked`: half of the word triples of one sentence of the instruction came back. `script`, `language`: not the
    text's own, if both are clear. `echo`: the same words, or an edit similarity (1 - Levenshtein distance / longer
    length, as in arXiv 2107.06499) of the normalised texts above `max_echo`. `repeats`: fewer than half of its word
    triples are distinct. `length`: words of positive / words of text is outside `length_ratio`. `cut`: max_new_tokens
    cut it (`cut`, n booleans; None for none) and it ends in mid-sentence.

    Styles in `echoing` echo on purpose and are exempt from `echo`. Style `identity` is checked only for `empty`.
    """
    leaks = {style: instruction_triples(template) for style, template in instructions.items()}
    rows = list(zip(texts, positives, styles, [False] * len(texts) if cut is None else cut, strict=True))
    chunks = [rows[start : start + PAIRS_A_CHUNK] for start in range(0, len(rows), PAIRS_A_CHUNK)]
    task = partial(_judge_chunk, filters=dict(filters), leaks=leaks, echoing=echoing)
    answer: list[str | None] = []
    for reasons in _mapped(task, chunks, workers):
        answer += reasons
        if progress:
            progress(len(answer), len(rows))
    return answer


def _mapped(task: Callable, chunks: Sequence[list], workers: int) -> Iterator[list[str | None]]:
    if workers <= 1 or len(chunks) <= 1:
        yield from map(task, chunks)
        return
    with ProcessPoolExecutor(max_workers=min(workers, len(chunks))) as pool:
        yield from pool.map(task, chunks)


def _judge_chunk(
    rows: Sequence[tuple[str, str, str, bool]], filters: Mapping, leaks: Leaks, echoing: frozenset[str]
) -> list[str | None]:
    known: dict[str, str | None] = {}  # one text often has several positives
    return [
        reason_to_reject(text, positive, style, filters, leaks.get(style, ()), style in echoing, known)
        or ("cut" if cut and filters["cut"] and style != "identity" and mid_sentence(positive) else None)
        for text, positive, style, cut in rows
    ]


def reason_to_reject(
    text: str,
    positive: str,
    style: str,
    filters: Mapping,
    leaks: Sequence[frozenset[Triple]] = (),
    echoes: bool = False,
    known: dict[str, str | None] | None = None,
) -> str | None:
    """`judge_pairs` for one pair. leaks: `instruction_triples` of the style; known: a cache of the texts' languages."""
    found = words(positive)
    if not found:
        return "empty"
    if style == "identity":
        return None
    length = word_count(positive, found)
    if length < filters["min_words"]:
        return "short"
    if filters["refusal"] and (said := boilerplate(text, positive)):
        return said
    triples = set(_triples(found))
    if filters["leaked"] and leaked(text, triples, leaks):
        return "leaked"
    if filters["script"] and other_script(text, positive):
        return "script"
    if filters["language"] and not _borrowed(text, found) and other_language(text, positive, known):
        return "language"
    if not echoes and filters["max_echo"] is not None and echo(text, positive, filters["max_echo"]):
        return "echo"
    if len(found) > 2 and len(triples) < REPEATED_SHARE * (len(found) - 2):
        return "repeats"
    if filters["length_ratio"] is not None:
        low, high = filters["length_ratio"]
        if not low <= length / max(1, word_count(text)) <= high:
            return "length"
    return None


def _borrowed(text: str, found: Sequence[str]) -> bool:
    """Whether half of the positive's words are in the text. Then its language need not be checked."""
    of_text = set(words(text))
    return 2 * sum(word in of_text for word in found) >= len(found)


def mid_sentence(text: str) -> bool:
    """Whether a text stops in mid-sentence: closing quotes and brackets aside, it does not end with an end mark."""
    return not text.rstrip().rstrip(CLOSING).rstrip().endswith(ENDS)


def echo(text: str, positive: str, most: float) -> bool:
    """Whether a positive repeats its text: the same words, or an edit similarity above `most` (0 to 1).

    Only the first 20,000 characters of longer texts are compared.
    """
    short, long = sorted((len(text), len(positive)))
    if long > ECHO_CHARACTERS and short < most * long / 2:  # half, because folded punctuation can't hide more
        return False
    source, target = normalise(text[:ECHO_CHARACTERS]), normalise(positive[:ECHO_CHARACTERS])
    return source == target or Levenshtein.normalized_similarity(source, target, score_cutoff=most) > most


def instruction_triples(template: str) -> list[frozenset[Triple]]:
    """The word triples of each sentence of an instruction, without the text's slot."""
    sentences = re.split(r"(?<=[.!?:;。！？])\s+|\n+", template.replace(SLOT, "\n"))
    sets = (frozenset(_triples(words(sentence))) for sentence in sentences)
    return [triples for triples in sets if len(triples) >= LEAK_TRIPLES]


def leaked(text: str, triples: set[Triple], sentences: Sequence[frozenset[Triple]]) -> bool:
    """Whether half of the triples of one sentence of the instruction are in the positive but not in the text."""
    for sentence in sentences:
        if len(shared := sentence & triples) >= max(LEAK_TRIPLES, LEAK_SHARE * len(sentence)):
            shared = shared.difference(_triples(words(text)))
            if len(shared) >= max(LEAK_TRIPLES, LEAK_SHARE * len(sentence)):
                return True
    return False


def _triples(found: Sequence[str]) -> Iterator[Triple]:
    return zip(found, found[1:], found[2:], strict=False)


def first_uses(texts: Sequence[str]) -> list[bool]:
    """True for each text whose normalised form occurs for the first time."""
    seen: set[str] = set()
    answer = []
    for text in texts:
        key = normalise(text)
        answer.append(key not in seen)
        seen.add(key)
    return answer
