"""The lexical stage: TF-IDF and SVD of the fitting texts, fitted once for every checkpoint and prompt."""

import time

import pandas as pd

from ..artifacts.files import write_sidecar
from ..embedding.lexical import fit_words, write_lexical


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
