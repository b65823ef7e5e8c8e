"""What the last token can look at: the span of each token of a prompted text, and the share that each span gets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..templates import Composer, Template, Tokenized
from ..text.content_words import content_tokens, token_offsets

SPANS = ("sink", "prefix", "content", "function", "suffix", "itself")
MEAN = -1  # in a column `head` or `layer`: the mean over all that were measured


@dataclass(frozen=True)
class Labelled:
    """A prompted text's ids, its tokens in readable form, and their spans (of SPANS), all of one length."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: tuple[str, ...]


def label_tokens(composer: Composer, template: Template, text: str, function_words: frozenset[str]) -> Labelled:
    """Composes a prompted text and names each token's span, from the composition alone.

    `sink` is the first token and `itself` the last, whatever they are. Further special tokens count as prefix. The
    text's tokens are `content` or `function` (function words, punctuation, space). In an echo template both copies
    count as the text.
    """
    composed = composer.compose(template, text)
    tokenizer, start = composer.tokenizer, composed.bos + composed.prefix
    own = composed.ids[start : start + composed.text]
    where, offsets = token_offsets(tokenizer, composer.clean([text])[0], own)
    words = ["content" if held else "function" for held in content_tokens(where, offsets, function_words)]
    # A character of several bytes: its first token shows it, the others a dot.
    pieces = [where[a:b] if i == 0 or offsets[i - 1] != (a, b) else "·" for i, (a, b) in enumerate(offsets)]
    spans = ["prefix"] * start + words + ["suffix"] * composed.suffix
    tokens = [tokenizer.decode([token]) for token in composed.ids]
    for place in (first_copy(composer, template, composed), start):
        if place is not None:
            spans[place : place + len(own)], tokens[place : place + len(own)] = words, pieces
    if spans:
        spans[-1] = "itself"
        spans[0] = "sink"  # even if it is the only token
    return Labelled(composed.ids, tuple(tokens), tuple(spans))


def first_copy(composer: Composer, template: Template, composed: Tokenized) -> int | None:
    """The index at which the first copy of an echo template's text begins; None for any other template."""
    return None if template.middle is None else composed.bos + len(composer.piece(template.prefix))


def span_shares(rows: np.ndarray, spans: Sequence[str]) -> np.ndarray:
    """The share of each row that each of SPANS gets. rows: [heads, tokens]; returns [heads, 6] float64."""
    places = np.array([[span == name for name in SPANS] for span in spans], dtype=np.float64)
    return rows.astype(np.float64) @ places.reshape(-1, len(SPANS))


def entropy(rows: np.ndarray) -> np.ndarray:
    """Shannon entropy of each row in nats, not normalised: 0 for one token, ln(tokens) if all are equal. [heads]."""
    rows = rows.astype(np.float64)
    return -np.sum(rows * np.log(np.where(rows > 0, rows, 1)), axis=-1)
