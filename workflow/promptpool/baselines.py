"""What a number must beat: random vectors, and TF-IDF with a truncated SVD."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np


def baseline_vectors(texts: Sequence[str], spec: Mapping) -> Iterator[np.ndarray]:
    """Matrices float32 [n, dim] of one baseline: one per seed for `random`, one for `tfidf-svd`."""
    if spec["kind"] == "random":
        for seed in range(spec["seeds"]):
            yield np.random.default_rng(seed).standard_normal((len(texts), spec["dim"])).astype(np.float32)
    else:
        yield tfidf_svd(texts, spec["dim"])


def tfidf_svd(texts: Sequence[str], dim: int) -> np.ndarray:
    """Latent semantic analysis: sublinear TF-IDF of words, truncated SVD, rows of length 1. float32 [n, dim].

    `dim` is lowered to what the texts' vocabulary allows.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2 if len(texts) > 100 else 1)
    counts = vectorizer.fit_transform(texts)
    dim = max(1, min(dim, counts.shape[1] - 1, len(texts) - 1))
    return normalize(TruncatedSVD(dim, random_state=0).fit_transform(counts)).astype(np.float32)
