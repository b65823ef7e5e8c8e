"""Whether a server gives an export's own vectors: from plain texts, or else from the prompt's template sent with them.

The prompt is in the tokenizer's post-processor. Converters that read it by its first and last special token lose it
without a word, and the vectors are then those of another model. So the vectors are compared, not the configuration.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing

from ..errors import PromptpoolError
from ..models.precision import exact
from ..templates import DOCUMENT, by_role
from .check_parity import PARITY, awkward_texts, cosines

COUNT = 100
SENTENCE = (
    "the river froze early that winter and nobody in town remembered a colder night than the one before the fair when "
    "boats lay still in ice from bank to bank while children ran across it with lamps"
)
Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> float [n, dim]


@dataclass(frozen=True)
class Served:
    """What a server gives for one way of sending. how: `texts` or `template`; worst: (text, cosine) of the lowest;
    first: (text, cosine) of the first text that differs, None if none does; rate: texts a second.
    """

    how: str
    worst: tuple[str, float]
    first: tuple[str, float] | None
    rate: float
    longer: float  # the largest ratio of a vector's length to the export's

    @property
    def passed(self) -> bool:
        return self.first is None


class Reference:
    """An export in sentence-transformers, in float32 on the CPU. Its vectors are what a server must give."""

    def __init__(self, folder: Path):
        path = folder / "promptpool.json"
        if not path.is_file() or not (folder / "modules.json").is_file():
            raise PromptpoolError(f"{folder}: no exported model; name results/<run>/models/<export>")
        self.folder, self.variant = folder, json.loads(path.read_text(encoding="utf-8"))
        self.model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        self.whole = self.model.tokenizer.backend_tokenizer.post_processor

    @property
    def template(self) -> str:
        return by_role(self.variant["template"])[DOCUMENT]  # as the reference's own `encode` does

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        with exact(self.model.device):
            return self.model.encode(list(texts), show_progress_bar=False)

    def texts(self) -> list[str]:
        """100 texts that are not blank and that the export does not cut: awkward ones, and plain ones."""
        tokenizer, most = self.model.tokenizer, self.variant["max_text_tokens"]
        special, start = str(tokenizer.eos_token), self.template.partition("{text}")[0]
        texts = [text for text in awkward_texts(self.template, special, most) if text.strip() and text != start]
        words = SENTENCE.split()
        texts += [" ".join((words[i % 37 :] + words)[: 1 + (7 * i) % 29]) + f" {i}" for i in range(2 * COUNT)]
        texts += [f"{chr(97 + i % 26)} {i}" for i in range(2 * COUNT)]  # where few tokens are allowed
        short = [text for text in texts if len(tokenizer.encode(text, add_special_tokens=False, verbose=False)) <= most]
        return list(dict.fromkeys(short))[:COUNT]

    def without_prompt(self) -> dict[str, Embed]:
        """What the vectors would be if a server lost the prompt: all of it, or all but its first and last token."""
        ids = self.model.tokenizer("", verbose=False)["input_ids"]
        ends = {name: ids[place : place + 1 or None] for name, place in (("FIRST", 0), ("LAST", -1))} if ids else {}
        return {
            "the prompt is lost": self._processed({}),
            "of the prompt, only the first and the last token are kept": self._processed(ends),
        }

    def _processed(self, pieces: dict[str, list[int]]) -> Embed:
        tokenizer = self.model.tokenizer
        special = [{"id": k, "ids": v, "tokens": tokenizer.convert_ids_to_tokens(v)} for k, v in pieces.items()]
        order = [*(["FIRST"] if pieces else []), "$A", *(["LAST"] if pieces else [])]
        other = TemplateProcessing(single=order, special_tokens=special)

        def embed(texts: Sequence[str]) -> np.ndarray:
            tokenizer.backend_tokenizer.post_processor = other
            try:
                return self.vectors(texts)
            finally:
                tokenizer.backend_tokenizer.post_processor = self.whole

        return embed


def served_parity(reference: Reference, embed: Embed, least: float = PARITY) -> tuple[list[Served], str]:
    """The ways of sending that were tried, the last of which may have passed; and what is wrong, if neither did.

    embed: the server's vectors of texts. least: the cosine that each text needs.
    """
    texts = reference.texts()
    wanted = reference.vectors(texts)
    plain, theirs = one_way("texts", texts, texts, wanted, embed, least)
    if plain.passed:
        return [plain], ""
    wrong = diagnosis(reference, texts, wanted, theirs, least)
    if reference.template == "{text}":
        return [plain], wrong
    sent = [reference.template.replace("{text}", text) for text in texts]
    template, _ = one_way("template", texts, sent, wanted, embed, least)
    return [plain, template], wrong


def one_way(
    how: str, texts: Sequence[str], sent: Sequence[str], wanted: np.ndarray, embed: Embed, least: float
) -> tuple[Served, np.ndarray]:
    """One way of sending, and the server's vectors."""
    started = time.perf_counter()
    theirs = np.asarray(embed(sent), np.float32)
    rate = len(texts) / max(time.perf_counter() - started, 1e-9)
    if theirs.shape != wanted.shape:
        raise PromptpoolError(
            f"serve-check: the server gives vectors of {theirs.shape[1]} dimensions, and the export has "
            f"{wanted.shape[1]}; it serves another model"
        )
    found = np.nan_to_num(cosines(wanted, theirs), nan=-1.0)
    low, differing = int(found.argmin()), np.flatnonzero(found < least)
    first = (texts[differing[0]], float(found[differing[0]])) if len(differing) else None
    ratio = np.linalg.norm(theirs, axis=1) / np.linalg.norm(wanted, axis=1)
    return Served(how, (texts[low], float(found[low])), first, rate, float(ratio[np.abs(ratio - 1).argmax()])), theirs


def of_a_long_text(reference: Reference, embed: Embed, least: float = PARITY) -> str:
    """What a server does with a text that the export would cut, in words. A server may cut the prompt's end instead."""
    text = "a long text that is cut " * reference.variant["max_text_tokens"]
    try:
        found = float(cosines(reference.vectors([text]), np.asarray(embed([text]), np.float32))[0])
    except PromptpoolError:
        return "refused: cut texts before you send them"
    return (
        "cut as the export cuts it"
        if found >= least
        else f"DIFFERS (cosine {found:.6f}): cut texts before you send them"
    )


def diagnosis(reference: Reference, texts: Sequence[str], wanted: np.ndarray, theirs: np.ndarray, least: float) -> str:
    """What the server does instead, in words; empty if that is not known."""
    for what, embed in reference.without_prompt().items():
        others = embed(texts)
        if np.median(cosines(others, theirs)) >= least and np.median(cosines(others, wanted)) < least:
            return what
    return ""
