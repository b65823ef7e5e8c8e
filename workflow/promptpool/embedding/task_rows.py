"""What each row of a task's vectors is of: a text, as a rule; with chunks, the mean of a text's, or a single one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..artifacts.files import sidecar_path, write_table
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import is_kept
from ..templates import Composer
from ..variants import CUT_TEXTS, MEAN_OF_CHUNKS, Key
from .split_texts import split_texts
from .text_lengths import LENGTHS, chunk_facts

CHUNKS = "chunks.parquet"  # beside a task's vectors: text (its row in texts.parquet), chunk, tokens


@dataclass(frozen=True)
class TaskRows:
    """A task's texts, and the rows of its files.

    keys: of each row; equal keys are equal vectors. A key is the text that is embedded, unless `pieces` are given:
    then a row is the mean of the vectors of its pieces, weighted by their `tokens`. facts: `chunk_facts`, with chunks.
    """

    texts: Sequence[str]
    keys: Sequence[str]
    pieces: Sequence[tuple[str, ...]] | None = None
    tokens: Sequence[tuple[int, ...]] | None = None
    facts: dict | None = None

    @property
    def embedded(self) -> list[str]:
        """What goes through the model."""
        return list(self.keys) if self.pieces is None else [piece for own in self.pieces for piece in own]


def cut_rows(texts: Sequence[str]) -> TaskRows:
    """Each text is a row, and the model cuts it."""
    return TaskRows(texts, texts)


def chunk_rows(texts: Sequence[str], table: pd.DataFrame, how: str, overlap: int, facts: dict) -> TaskRows:
    """Rows of texts in chunks. table: as CHUNKS holds it; how: `mean`, a row for each text; else one for each chunk."""
    if how != MEAN_OF_CHUNKS:
        return TaskRows(texts, table["chunk"].tolist(), facts=facts)
    starts = np.flatnonzero(np.diff(table["text"], prepend=-1))
    pieces, tokens = (np.split(table[name].to_numpy(), starts[1:]) for name in ("chunk", "tokens"))
    # A text in chunks is no text for another task, unless that one cuts it into the same chunks.
    keys = [text if len(own) == 1 else f"\0{overlap}\0{text}" for text, own in zip(texts, pieces, strict=True)]
    return TaskRows(texts, keys, [tuple(own) for own in pieces], [tuple(map(int, own)) for own in tokens], facts)


def task_rows(
    texts: Sequence[str],
    spec: Mapping | None,
    path: str,
    made_of: str,
    composer: Callable[[], Composer],
    **about: object,
) -> tuple[TaskRows, bool]:
    """(a task's rows, whether its table of chunks was made now, at `path`).

    spec: `how` and `overlap`; None to cut. A table that depends on the same is kept, and no tokenizer is loaded. about:
    what the table's sidecar says besides.
    """
    if spec is None or spec["how"] == CUT_TEXTS:
        return cut_rows(texts), False
    kept = is_kept(path, made_of)
    if not kept:
        known = composer()
        chunks = split_texts(known, texts, spec["overlap"])
        counts = [len(own) for own in chunks.pieces]
        table = pd.DataFrame({
            "text": np.repeat(np.arange(len(texts)), counts),
            "chunk": [piece for own in chunks.pieces for piece in own],
            "tokens": [count for own in chunks.tokens for count in own],
        })  # fmt: skip
        found = chunk_facts(spec["how"], spec["overlap"], known.max_text_tokens, chunks.lengths, chunks.tokens)
        write_table(path, table, made_of=made_of, **{LENGTHS: found}, **about)
    facts = (read_sealed(sidecar_path(path)) or {})[LENGTHS]
    return chunk_rows(texts, pd.read_parquet(path), spec["how"], spec["overlap"], facts), not kept


def means(vectors: Mapping[Key, np.ndarray], tokens: Sequence[Sequence[int]]) -> dict[Key, np.ndarray]:
    """The vectors of texts, float32 [len(tokens), dim], from those of their chunks, [chunks, dim] in the same order.

    tokens: of each text's chunks, which are the weights. They add up to 1, so an affine post-processing, or a cut to
    fewer dimensions, gives the same before and after. A short last chunk counts as little as it says, and a text of one
    chunk has its vector. With the pooling `mean:text` this is the mean over all tokens.
    """
    starts = np.cumsum([0, *(len(own) for own in tokens[:-1])])
    weights = np.concatenate([[1.0] if len(own) == 1 else np.divide(own, sum(own)) for own in tokens])
    column = weights.astype(np.float32)[:, None]
    return {key: np.add.reduceat(matrix * column, starts, axis=0) for key, matrix in vectors.items()}
