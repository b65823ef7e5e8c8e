"""Leaves out one word of a text at a time, and measures how far the embedding moves: what a word does, where attention
only shows where the last token looks.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import write_table
from ..embedding.embedder import Embedder
from ..errors import PromptpoolError
from ..models.checkpoint import Checkpoint
from ..text.content_words import content_words, token_offsets, words_of
from ..text.function_words import read_function_words
from ..variants import split_adapter_id
from .table import CONTENT, FUNCTION, OMISSION_COLUMNS

POOLING, LAYER = "last", -1  # the vector whose attention the other stages measure
NO_SPACE_BEFORE = ",.;:!?)"  # no space stands before these


def omit_words(
    out: str | Path,
    *,
    checkpoint: Checkpoint,
    model_name: str,
    adapter_id: str,
    prompts: Mapping[str, str],
    texts: Sequence[str],
    spec: Mapping,
) -> None:
    """Writes a row for each word of each text under each prompt: OMISSION_COLUMNS, as parquet with a sidecar.

    effect: 1 minus the cosine between the last token's vectors with and without the word. kind: content or function, as
    attention's spans have it. model_name, adapter_id, prompts and spec: see measure_attention. A text is first cut to
    `max_text_tokens`, so that leaving out a word lets no other in. Raises PromptpoolError if no text has two words.
    """
    started = time.time()
    name, step = split_adapter_id(adapter_id)
    listed = read_function_words(spec["function_words"])
    engine = Embedder.load(
        checkpoint.model, checkpoint.adapter, revision=checkpoint.revision, device=checkpoint.device,
        dtype=checkpoint.dtype, max_text_tokens=spec["max_text_tokens"],
        text_normalisation=spec["text_normalisation"], causal=checkpoint.causal,
    )  # fmt: skip
    rows, shorter = [], []
    for text_id, text in enumerate(whole_texts(engine, texts), start=1):
        for word, kind, rest in without_each(text, listed):
            rows.append((text_id, word, kind, text))
            shorter.append(rest)
    if not rows:
        raise PromptpoolError("attention.omissions: no text has two words; name another task")
    asked = [*shorter, *(text for *_, text in rows)]
    found = engine.grid(asked, prompts, [POOLING], [LAYER], normalize=True)
    tables = []
    for prompt in prompts:
        vectors = found[prompt, POOLING, LAYER].astype(np.float64)
        cosines = np.einsum("nd,nd->n", vectors[: len(rows)], vectors[len(rows) :])
        table = pd.DataFrame([row[:3] for row in rows], columns=["text_id", "word", "kind"])
        tables.append(table.assign(prompt=prompt, effect=np.maximum(0.0, 1 - cosines)))
    place = {"model": model_name, "adapter": name, "step": step}
    table = pd.concat(tables, ignore_index=True).assign(**place)[OMISSION_COLUMNS]
    table = table.astype({"step": "int32", "text_id": "int32", "effect": "float64"})
    facts = {**checkpoint.weights, "prompts": dict(prompts), **spec}
    write_table(out, table, inputs=checkpoint.files, spec=facts, started=started)


def whole_texts(engine: Embedder, texts: Sequence[str]) -> list[str]:
    """The texts as far as the model reads them."""
    cut = []
    for text, ids in zip(engine.composer.clean(list(texts)), engine.composer.texts(texts), strict=True):
        where, offsets = token_offsets(engine.composer.tokenizer, text, ids)
        cut.append(where[: max((end for _, end in offsets), default=0)])
    return cut


def without_each(text: str, function_words: frozenset[str]) -> list[tuple[str, str, str]]:
    """(word, kind, the text without it) of each word; none of a text with fewer than two."""
    content = set(content_words(text, function_words))
    spans = words_of(text)
    found = []
    for start, end in spans if len(spans) > 1 else []:
        before, after = text[:start], text[end:]
        if before[-1:].isspace() and (not after or after[0].isspace() or after[0] in NO_SPACE_BEFORE):
            before = before[:-1]  # the space before the word goes with it
        elif not before:
            after = after.lstrip()
        found.append((text[start:end], CONTENT if (start, end) in content else FUNCTION, before + after))
    return found
