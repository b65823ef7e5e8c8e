"""Prompt templates: turns a text and a prompt into token ids with exact spans.

Training, embedding, attention and export all get their ids here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .artifacts.files import text_digest
from .errors import PromptpoolError

if TYPE_CHECKING:  # the config check reads templates on every start, and must not wait for transformers
    from transformers import PreTrainedTokenizerBase

SLOT = "{text}"
NORMALISATIONS = ("none", "prompteol")  # of texts, before they are tokenized
QUERY, DOCUMENT = ROLES = ("query", "document")  # the names that sentence-transformers and MTEB give them
ROLE_OF_SIDE = {"text": QUERY, "positive": DOCUMENT}  # of a pair: its text looks for its positive


@dataclass(frozen=True)
class Template:
    """A prompt: prefix + text + suffix. `name` is its key in the config.

    An echo template (arXiv 2402.15449) holds the text twice: prefix + text + middle + text + suffix. The tokens of the
    second copy see the whole text. `middle` is None in any other template.
    """

    name: str
    prefix: str
    suffix: str
    middle: str | None = None

    @classmethod
    def parse(cls, name: str, template: str) -> Template:
        """Raises PromptpoolError unless the template holds `{text}` once or twice. Other braces are plain text."""
        parts = template.split(SLOT)
        if len(parts) not in (2, 3):
            raise PromptpoolError(
                f"prompts.{name}: the template needs {SLOT} once, or twice to echo; it has {len(parts) - 1}: "
                f"{template!r}"
            )
        return cls(name, parts[0], parts[-1], parts[1] if len(parts) == 3 else None)

    def __str__(self) -> str:
        return self.before + SLOT + self.suffix

    @property
    def before(self) -> str:
        """Everything before the text that is pooled. In an echo template this includes the first `{text}`."""
        return self.prefix if self.middle is None else self.prefix + SLOT + self.middle

    def filled(self, text: str) -> str:
        """The prompt with a text in it. Braces in the text stay."""
        return text.join([self.prefix, *([] if self.middle is None else [self.middle]), self.suffix])


@dataclass(frozen=True)
class Family:
    """Prompts that share everything before their suffix, and so one forward pass, which `name` depends on alone."""

    name: str
    prefix: str
    templates: tuple[Template, ...]

    @property
    def middle(self) -> str | None:
        """The string between the two texts of echo templates; None in others."""
        return self.templates[0].middle


def families(prompts: Mapping[str, str]) -> list[Family]:
    """Groups templates by what comes before their suffix, in the order of the prompts' names."""
    groups: dict[str, list[Template]] = {}
    for name in sorted(prompts):
        template = Template.parse(name, prompts[name])
        groups.setdefault(template.before, []).append(template)
    return [Family(family_name(before), members[0].prefix, tuple(members)) for before, members in groups.items()]


def family_name(prefix: str) -> str:
    """A name that can be part of a path: the first words before the suffix, and eight digits of their digest."""
    words = "-".join(re.findall(r"[a-z0-9]+", prefix.lower())[:4])[:32] or "no-prefix"
    return f"{words}-{text_digest(prefix)[:8]}"


@dataclass(frozen=True)
class Tokenized:
    """Token ids of one prompted text, and how many of them belong to each span, in this order.

    In an echo template, `prefix` is everything before the second copy.
    """

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
    """Composes ids: BOS (if the tokenizer adds one) + prefix + text + suffix (+ EOS).

    Only the text is truncated, to `max_text_tokens`, never a prompt. The parts are tokenized separately, so spans are
    exact and the ids of prefix + text do not depend on the suffix.
    text_normalisation: see `normalised`.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_text_tokens: int, text_normalisation: str = NORMALISATIONS[0]
    ):
        if tokenizer.eos_token_id is None:
            raise PromptpoolError(f"{tokenizer.name_or_path}: the tokenizer has no EOS token; set one in its config")
        self.tokenizer = tokenizer
        self.max_text_tokens = max_text_tokens
        self.text_normalisation = text_normalisation
        self.eos_id = int(tokenizer.eos_token_id)
        self.bos_ids = leading_special_ids(tokenizer)

    def piece(self, text: str) -> list[int]:
        """Ids of a prompt's prefix or suffix, never cut."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, each cut to `max_text_tokens`. An empty text has no ids."""
        if not texts:
            return []
        rows = self.tokenizer(self.clean(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [list(ids[: self.max_text_tokens]) for ids in rows]

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Texts as they are tokenized: normalised, and valid UTF-8."""
        return [well_formed(normalised(text, self.text_normalisation)) for text in texts]

    def joint(self, template: Template, texts: Sequence[str]) -> list[list[int]]:
        """The paper's way, `tokenization: joint`: BOS and the ids of the whole formatted string. See format_joint."""
        if not texts:
            return []
        filled = format_joint(self.tokenizer, template, self.clean(texts), self.max_text_tokens)
        rows = self.tokenizer(filled, add_special_tokens=False, verbose=False)["input_ids"]
        return [[*self.bos_ids, *ids] for ids in rows]

    def compose(self, template: Template, text: str, eos: bool = False) -> Tokenized:
        """One prompted text."""
        prefix, suffix = self.piece(template.prefix), self.piece(template.suffix)
        ids = self.texts([text])[0]
        if template.middle is not None:
            prefix += [*ids, *self.piece(template.middle)]
        tail = [self.eos_id] if eos else []
        return Tokenized(
            len(self.bos_ids),
            len(prefix),
            len(ids),
            len(suffix),
            len(tail),
            (*self.bos_ids, *prefix, *ids, *suffix, *tail),
        )


def by_role(template: str | Mapping[str, str]) -> dict[str, str]:
    """Role -> template. A single template is that of both roles."""
    return {role: template if isinstance(template, str) else template[role] for role in ROLES}


def parsed(name: str, template: str | Mapping[str, str]) -> Template | dict[str, Template]:
    """The parsed template, or that of each role."""
    if isinstance(template, str):
        return Template.parse(name, template)
    return {role: Template.parse(f"{name}.{role}", own) for role, own in by_role(template).items()}


def normalised(text: str, how: str) -> str:
    """Normalises a text as a method needs it, before it is put into a prompt.

    `none`: unchanged. `prompteol` (arXiv 2307.16645, as in its published evaluation): double quotes become single ones,
    and the text ends like a statement: a full stop is added unless . ? or a quote ends it, and replaces a final ?.
    """
    if how == "none" or not text:
        return text
    closed = text if text.endswith((".", "?", '"', "'")) else f"{text}."
    quoted = closed.replace('"', "'")
    return f"{quoted[:-1]}." if quoted.endswith("?") else quoted


def well_formed(text: str) -> str:
    """The text, with a replacement character for every lone surrogate, because no tokenizer accepts these."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def format_joint(
    tokenizer: PreTrainedTokenizerBase, template: Template, texts: Sequence[str], max_text_tokens: int
) -> list[str]:
    """The paper's way, `tokenization: joint`: each text cut to `max_text_tokens`, decoded, put into the prompt.

    A tokenizer may merge these strings across the seams, so spans are not exact and nothing can be shared.
    """
    rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [template.filled(tokenizer.decode(ids[:max_text_tokens], skip_special_tokens=True)) for ids in rows]


def leading_special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the tokenizer puts in front of a text by default (a BOS, or nothing)."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start]
    return []
