"""Prompt templates: one text, one prompt -> token ids with exact spans.

Training, embedding, attention and export all take their ids from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .artifacts import text_digest
from .errors import PromptpoolError

if TYPE_CHECKING:  # the config check reads templates on every start, and must not wait for transformers
    from transformers import PreTrainedTokenizerBase

SLOT = "{text}"


@dataclass(frozen=True)
class Template:
    """A prompt: prefix + text + suffix. `name` is its key in the config."""

    name: str
    prefix: str
    suffix: str

    @classmethod
    def parse(cls, name: str, template: str) -> Template:
        """Raises PromptpoolError unless the template holds `{text}` exactly once; other braces are plain text."""
        parts = template.split(SLOT)
        if len(parts) != 2:
            raise PromptpoolError(
                f"prompts.{name}: the template needs exactly one {SLOT}; it has {len(parts) - 1}: {template!r}"
            )
        return cls(name, parts[0], parts[1])

    def __str__(self) -> str:
        return self.prefix + SLOT + self.suffix


@dataclass(frozen=True)
class Family:
    """Prompts that share a prefix, and so one forward pass. `name` is made of the prefix alone."""

    name: str
    prefix: str
    templates: tuple[Template, ...]


def families(prompts: Mapping[str, str]) -> list[Family]:
    """Groups templates by prefix, in the order of the prompts' names."""
    groups: dict[str, list[Template]] = {}
    for name in sorted(prompts):
        template = Template.parse(name, prompts[name])
        groups.setdefault(template.prefix, []).append(template)
    return [Family(family_name(prefix), prefix, tuple(members)) for prefix, members in groups.items()]


def family_name(prefix: str) -> str:
    """A name fit for a path: the prefix's first words and eight digits of its digest."""
    words = "-".join(re.findall(r"[a-z0-9]+", prefix.lower())[:4])[:32] or "no-prefix"
    return f"{words}-{text_digest(prefix)[:8]}"


@dataclass(frozen=True)
class Tokenized:
    """Token ids of one prompted text, and how many of them belong to which span, in this order."""

    bos: int
    prefix: int
    text: int
    suffix: int
    eos: int
    ids: tuple[int, ...]

    def spans(self) -> list[str]:
        """The span of each token: `bos`, `prefix`, `text`, `suffix` or `eos`. Same length as `ids`."""
        return [name for name in ("bos", "prefix", "text", "suffix", "eos") for _ in range(getattr(self, name))]


class Composer:
    """Composes ids: BOS (where the tokenizer adds one) + prefix + text + suffix (+ EOS).

    Only the text is truncated, to `max_text_tokens`; a prompt never is. The pieces are tokenized apart,
    so spans are exact and the ids of prefix + text do not depend on the suffix (DESIGN 5.1).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int):
        if tokenizer.eos_token_id is None:
            raise PromptpoolError(f"{tokenizer.name_or_path}: the tokenizer has no EOS token; set one in its config")
        self.tokenizer = tokenizer
        self.max_text_tokens = max_text_tokens
        self.eos_id = int(tokenizer.eos_token_id)
        self.bos_ids = leading_special_ids(tokenizer)

    def piece(self, text: str) -> list[int]:
        """Ids of a prompt's prefix or suffix, whole."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, each cut to `max_text_tokens`. An empty text has no ids."""
        if not texts:
            return []
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [list(ids[: self.max_text_tokens]) for ids in rows]

    def compose(self, template: Template, text: str, eos: bool = False) -> Tokenized:
        """One prompted text."""
        prefix, suffix = self.piece(template.prefix), self.piece(template.suffix)
        ids = self.texts([text])[0]
        tail = [self.eos_id] if eos else []
        return Tokenized(
            len(self.bos_ids),
            len(prefix),
            len(ids),
            len(suffix),
            len(tail),
            (*self.bos_ids, *prefix, *ids, *suffix, *tail),
        )


def format_joint(
    tokenizer: PreTrainedTokenizerBase, template: Template, texts: Sequence[str], max_text_tokens: int
) -> list[str]:
    """The paper's way, `tokenization: joint`: each text cut to `max_text_tokens`, decoded, put into the prompt.

    What tokenizes these strings may merge across the seams, so spans are not exact and nothing can be shared.
    """
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    cut = [tokenizer.decode(ids[:max_text_tokens], skip_special_tokens=True) for ids in rows]
    return [template.prefix + text + template.suffix for text in cut]


def leading_special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the tokenizer puts before a text by default (a BOS, or nothing)."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start]
    return []
