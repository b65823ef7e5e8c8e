"""The lexical stage: TF-IDF and SVD of the fitting texts, fitted once for every checkpoint and prompt."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..artifacts.files import write_sidecar
from ..embedding.lexical import LEAST_TEXTS, Lexical, counted_words, tfidf_counter, write_lexical
from ..embedding.post_processing import fit
from ..errors import PromptpoolError

SVD_SEED = 0  # of the randomised SVD


def fit_lexical(out: str, texts: str, *, dim: int) -> None:
    """Writes a lexical part of `dim` dimensions (embedding.lexical).

    texts: the table of `choose_fitting_texts`, none of whose texts is a task's. Raises PromptpoolError if they have too
    few words in common.
    """
    started = time.time()
    known = pd.read_parquet(texts)["text"].tolist()
    part = fit_words(known, dim)
    write_lexical(out, part)
    write_sidecar(out, inputs=[texts], spec={"dim": dim}, started=started, texts=len(known), words=len(part.words))


def fit_words(texts: Sequence[str], dim: int) -> Lexical:
    """Fits a part of `dim` dimensions. Raises PromptpoolError if the texts have too few words for that."""
    from sklearn.decomposition import TruncatedSVD

    seen: dict[str, int] = {}
    for text in texts:
        for word in set(counted_words(text)):
            seen[word] = seen.get(word, 0) + 1
    vocabulary = sorted(word for word, count in seen.items() if count >= LEAST_TEXTS)
    most = min(len(vocabulary), len(texts)) - 1
    if most < dim:
        raise PromptpoolError(
            f"lexical: {len(texts)} fitting texts have {len(vocabulary)} words that {LEAST_TEXTS} of them share, too "
            f"few for {dim} dimensions; lower dim to {max(most, 1)}, or raise fitting.texts"
        )
    counts = (counter := tfidf_counter(vocabulary)).fit_transform(texts)
    found = TruncatedSVD(dim, random_state=SVD_SEED).fit(counts).components_
    axes = np.ascontiguousarray(found, np.float32)  # a file keeps rows one after the other
    return Lexical(tuple(vocabulary), counter.idf_, axes, fit((counts @ axes.T).astype(np.float32)))
