"""Whether a server gives an export's own vectors: from plain texts, else with the prompt's template, else from ids.

The prompt is in the tokenizer's post-processor. Converters that read it by its first and last special token lose it
without a word, and the vectors are then those of another model. So the vectors are compared, not the configuration.
Ids that the export's own tokenizer makes need nothing of the server's tokenizer. If they give the export's vectors, its
weights and its pooling are right, and only its tokens are not.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
Inputs = Sequence[str] | Sequence[list[int]]  # texts, or the token ids of each
Embed = Callable[[Inputs], np.ndarray]  # -> float [n, dim]


@dataclass(frozen=True)
class Served:
    """What a server gives for one way of sending. how: `texts`, `template` or `ids`; worst: (text, cosine) of the
    lowest; first: (text, cosine) of the first text that differs, None if none does; differing: how many do; longer: the
    largest ratio of a vector's length to the export's; rate: texts a second once it is warm, None if not measured.
    """

    how: str
    worst: tuple[str, float]
    first: tuple[str, float] | None
    differing: int
    longer: float
    rate: float | None = None

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

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, with the prompt's, as the export's own tokenizer makes them."""
        return [self.model.tokenizer(text, verbose=False)["input_ids"] for text in texts]

    def without_prompt(self) -> list[tuple[str, Embed]]:
        """What the vectors would be if a server lost the prompt, in words: all of it but the tokens that begin and end
        every text, or all but its first and last token.
        """
        tokenizer, ids = self.model.tokenizer, self.model.tokenizer("", verbose=False)["input_ids"]
        begin = ids[:1] if ids and ids[0] in (tokenizer.bos_token_id, tokenizer.eos_token_id) else []
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        edges = [(first, last) for last in ([], end) for first in ([], begin)]
        lost = [("the prompt is lost", *edge) for number, edge in enumerate(edges) if edge not in edges[:number]]
        ends = ("of the prompt, only the first and the last token are kept", ids[:1], ids[-1:])
        return [(what, self._processed(first, last)) for what, first, last in [*lost, ends]]

    def _processed(self, first: list[int], last: list[int]) -> Embed:
        """The export's vectors with these ids around a text, in place of what its tokenizer adds."""
        tokenizer = self.model.tokenizer
        pieces = {name: ids for name, ids in (("FIRST", first), ("LAST", last)) if ids}
        special = [{"id": k, "ids": v, "tokens": tokenizer.convert_ids_to_tokens(v)} for k, v in pieces.items()]
        order = [*(["FIRST"] if first else []), "$A", *(["LAST"] if last else [])]
        other = TemplateProcessing(single=order, special_tokens=special)

        def embed(texts: Sequence[str]) -> np.ndarray:
            tokenizer.backend_tokenizer.post_processor = other
            try:
                return self.vectors(texts)
            finally:
                tokenizer.backend_tokenizer.post_processor = self.whole

        return embed


def served_parity(reference: Reference, embed: Embed, least: float = PARITY) -> tuple[list[Served], str]:
    """The ways of sending that were tried, the last of which may have passed; and what is wrong, if the first did not.

    embed: the server's vectors, of texts or of ids. least: the cosine that each text needs. The way that passes is
    sent once more, for its speed.
    """
    texts = reference.texts()
    wanted = reference.vectors(texts)
    sent: dict[str, Inputs] = {"texts": texts}
    if reference.template != "{text}":
        sent["template"] = [reference.template.replace("{text}", text) for text in texts]
    sent["ids"] = reference.ids(texts)
    tried: list[Served] = []
    wrong = ""
    for how, inputs in sent.items():
        try:
            theirs = _cut(embed(inputs), wanted, reference)
        except PromptpoolError:
            if how == "ids":  # a server need not take them
                break
            raise
        way = one_way(how, texts, wanted, theirs, least)
        if way.passed:
            started = time.perf_counter()
            embed(inputs)
            return [*tried, replace(way, rate=len(texts) / max(time.perf_counter() - started, 1e-9))], wrong
        if how == "texts":
            wrong = diagnosis(reference, texts, wanted, theirs, least)
        tried.append(way)
    return tried, wrong


def one_way(how: str, texts: Sequence[str], wanted: np.ndarray, theirs: np.ndarray, least: float) -> Served:
    """What one way of sending gave. wanted, theirs: float [n, dim]."""
    found = np.nan_to_num(cosines(wanted, theirs), nan=-1.0)
    low, differing = int(found.argmin()), np.flatnonzero(found < least)
    first = (texts[differing[0]], float(found[differing[0]])) if len(differing) else None
    ratio = np.linalg.norm(theirs, axis=1) / np.linalg.norm(wanted, axis=1)
    longer = float(ratio[np.abs(ratio - 1).argmax()])
    return Served(how, (texts[low], float(found[low])), first, len(differing), longer)


def _cut(theirs: np.ndarray, wanted: np.ndarray, reference: Reference) -> np.ndarray:
    """A server's vectors as float32; of whole ones, the dimensions that the export keeps (`truncate_dim`)."""
    theirs = np.asarray(theirs, np.float32)[:, : reference.variant.get("truncate_dim")]
    if theirs.shape != wanted.shape:
        raise PromptpoolError(
            f"serve-check: the server gives vectors of {theirs.shape[1]} dimensions, and the export has "
            f"{wanted.shape[1]}; it serves another model"
        )
    return theirs


def of_a_long_text(reference: Reference, embed: Embed, least: float = PARITY) -> str:
    """What a server does with a text that the export would cut, in words. A server may cut the prompt's end instead."""
    text = "a long text that is cut " * reference.variant["max_text_tokens"]
    try:
        wanted = reference.vectors([text])
        found = float(cosines(wanted, _cut(embed([text]), wanted, reference))[0])
    except PromptpoolError:
        return "refused: cut texts before you send them"
    return (
        "cut as the export cuts it"
        if found >= least
        else f"DIFFERS (cosine {found:.6f}): cut texts before you send them"
    )


def diagnosis(reference: Reference, texts: Sequence[str], wanted: np.ndarray, theirs: np.ndarray, least: float) -> str:
    """What the server does instead, in words; empty if that is not known."""
    for what, embed in reference.without_prompt():
        others = embed(texts)
        if np.median(cosines(others, theirs)) >= least and np.median(cosines(others, wanted)) < least:
            return what
    return ""
