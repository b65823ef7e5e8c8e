"""The lexical part of an aggregation: TF-IDF and SVD, fitted on unlabelled texts (Deerwester et al. 1990)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from ..artifacts.files import atomic_path
from ..text.words import words
from ..variants import Key
from .post_processing import Statistics

LEAST_TEXTS = 2  # texts that a word must be in
Held = TypeVar("Held")


@dataclass(frozen=True)
class Lexical:
    """A fitted part. words: the vocabulary, [v]; idf: float64 [v]; axes: the SVD's, float32 [dim, v]; statistics: of
    the fitted texts' vectors, for a post-processing and for the typical length.
    """

    words: tuple[str, ...]
    idf: np.ndarray
    axes: np.ndarray
    statistics: Statistics

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 [texts, dim], rows of length 1 at most: of a text's TF-IDF, what the axes hold. 0 without a known
        word.
        """
        return (tfidf_counter(self.words, self.idf).transform(texts) @ self.axes.T).astype(np.float32)


def counted_words(text: str) -> list[str]:
    """The words of a text, without English function words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return [word for word in words(text) if word not in ENGLISH_STOP_WORDS]


def tfidf_counter(vocabulary: Sequence[str] | None = None, idf: np.ndarray | None = None):
    """Sublinear TF-IDF, rows of length 1; fitted if it is given words and their weights."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counter = TfidfVectorizer(analyzer=counted_words, sublinear_tf=True, min_df=LEAST_TEXTS, vocabulary=vocabulary)
    if idf is not None:
        counter.idf_ = idf
    return counter


class WithLexical(Mapping[Key, Held]):
    """Values by (prompt, pooling, layer), with a lexical part's value under its name, whatever the prompt and layer."""

    def __init__(self, plain: Mapping[Key, Held], lexical: Mapping[str, Held]):
        self.plain, self.lexical = plain, lexical

    def __getitem__(self, key: Key) -> Held:
        return self.lexical[key[1]] if key[1] in self.lexical else self.plain[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)


# --- on disk -----------------------------------------------------------------------------------------


def write_lexical(path: str | Path, part: Lexical) -> None:
    """Writes a safetensors file: `words` (UTF-8, a word a line), `idf`, `axes`, and the statistics by their names."""
    statistics = {f"statistics/{name}": np.asarray(value) for name, value in vars(part.statistics).items()}
    listed = np.frombuffer("\n".join(part.words).encode("utf-8"), np.uint8)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({"words": listed, "idf": part.idf, "axes": part.axes, **statistics}))


def read_lexical(path: str | Path) -> Lexical:
    """The part that `write_lexical` wrote."""
    with safe_open(str(path), framework="np") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    named = {name.partition("/")[2]: value for name, value in held.items() if "/" in name}
    known = Statistics(**{**named, "texts": int(named["texts"])})
    return Lexical(tuple(held["words"].tobytes().decode("utf-8").split("\n")), held["idf"], held["axes"], known)
