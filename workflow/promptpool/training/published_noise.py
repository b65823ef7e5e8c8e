"""The published code's noise: on all texts of a pair, all kinds one after the other, drawn again each time.

Its rates: each word is left out with probability 0.1, two words change places once, and in each word two neighbouring
letters change places with probability 0.05 (github.com/beneroth13/llm-text-embeddings@2c6bdf2, finetuning/train.py).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..artifacts.files import text_digest
from ..templates import Template, format_joint
from .hard_negatives import filled, sides

PUBLISHED = "published"
LEFT_OUT, TRANSPOSED = 0.1, 0.05
Format = Callable[[Sequence[str]], list[str]]


def published_noise(text: str, draw: random.Random) -> str:
    """One text with noise. Words are what white space separates; a single word is neither left out nor moved."""
    words = text.split()
    if len(words) > 1:
        words = [word for word in words if draw.random() > LEFT_OUT] or [draw.choice(words)]
    if len(words) > 1:
        a, b = draw.sample(range(len(words)), 2)
        words[a], words[b] = words[b], words[a]
    for place, word in enumerate(words):
        if draw.random() < TRANSPOSED and len(word) > 1:
            at = draw.randrange(len(word) - 1)
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words) or text


def pairs_to_read(
    raw: pd.DataFrame,
    texts: pd.DataFrame,
    label: Sequence,
    spec: Mapping,
    epoch: Callable[[], int],
    template: Template,
    tokenizer: Callable[[], PreTrainedTokenizerBase],
) -> Dataset:
    """The pairs as the trainer reads them: text, positive, hard negatives if there are any, label.

    texts: the pairs ready for the tokenizer; raw: the same before a prompt was put round them; tokenizer: makes one.
    """
    if spec.get("noise") != PUBLISHED:
        return Dataset.from_dict({**filled(texts).to_dict("list"), "label": label})
    wrap = None
    if spec["tokenization"] == "joint":
        wrap = partial(format_joint, tokenizer(), template, max_text_tokens=spec["max_text_tokens"])
    columns = filled(raw[sides(raw)]).to_dict("list")
    return noisy_pairs({**columns, "label": label}, spec["seed"], epoch, wrap)


def noisy_pairs(columns: Mapping[str, Sequence], seed: int, epoch: Callable[[], int], wrap: Format | None) -> Dataset:
    """Pairs (their texts, label) whose texts get noise whenever they are read, another in each epoch.

    epoch: the current one. What a pair gets depends only on seed, epoch, side and text, so a resumed training goes on
    as it would have. wrap: puts the noisy texts into a prompt; None leaves that to the tokenizer.
    """

    def read(batch: dict) -> dict:
        now = epoch()
        noisy = dict(batch)
        for side in batch:
            if side != "label":
                draws = [random.Random(text_digest(f"{seed}\0{now}\0{side}\0{text}")) for text in batch[side]]
                found = [published_noise(text, draw) for text, draw in zip(batch[side], draws, strict=True)]
                noisy[side] = wrap(found) if wrap else found
        return noisy

    pairs = Dataset.from_dict(dict(columns))
    pairs.set_transform(read)
    return pairs
