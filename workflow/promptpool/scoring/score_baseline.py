"""The scores of the baselines: random vectors, TF-IDF with a truncated SVD, BM25, others' embeddings."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..artifacts.files import sidecar_path
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import listed_file, write_manifest
from ..embedding.vector_file import read_vectors
from ..errors import PromptpoolError
from ..templates import DOCUMENT
from .score_parts import part_of, score_parts
from .scored_task import ScoredTask

BM25 = "bm25"  # the kind that ranks documents and has no vectors


@dataclass(frozen=True)
class BaselineScores:
    """One baseline to score on one task. vectors: its file, for kinds that have one."""

    name: str
    baseline: Mapping
    vectors: str | None = None

    @property
    def files(self) -> Sequence[str]:
        return [self.vectors] if self.vectors else []

    def made_of(self) -> dict:
        digest = read_sealed(sidecar_path(self.vectors))["digest"] if self.vectors else None
        return {"baseline": dict(self.baseline), "name": self.name, "vectors": digest}

    def scores(self, scorer) -> tuple[pd.DataFrame, list[str]]:
        """Several seeds of a kind become one set of rows. Each of several dimensions has rows of its own, with pooling
        `svd-<dim>`.
        """
        columns = {"model": self.name, "adapter": "baseline", "step": 0}
        columns |= {"prompt": "none", "pooling": "none", "layer": 0}
        if self.baseline["kind"] == BM25:
            from .scorer import mteb_name
            from .word_search import Bm25Encoder

            known = pd.read_parquet(scorer.texts)
            documents = known.loc[known["prompt_type"].str.contains(DOCUMENT), "text"].tolist()
            return scorer.score_encoder(Bm25Encoder(scorer.rows, documents, mteb_name(columns)), columns)
        if self.vectors:
            from .scorer import require_same_texts

            require_same_texts(self.vectors, list(scorer.rows), scorer.texts)
            draws, count = iter(read_vectors(self.vectors).values()), 1
        else:
            draws = inline_vectors(list(scorer.rows), self.baseline)
            several = self.baseline["kind"] == "tfidf-svd"
            count = len(dims(self.baseline)) if several else self.baseline.get("seeds", 1)
        frames, lines = [], []
        for seed, matrix in enumerate(tqdm(draws, total=count, desc=self.name, unit="draw", disable=count == 1)):
            revision = f"seed-{seed}" if count > 1 else "local"
            if self.baseline["kind"] == "tfidf-svd" and count > 1:
                revision = f"svd-{dims(self.baseline)[seed]}"
                columns = {**columns, "pooling": revision}
            table, own = scorer.score([(columns, revision, matrix)], 1)
            frames.append(table)
            lines += own
        return average(frames), lines


def score_baseline(
    out: str,
    tasks: Sequence[ScoredTask],
    *,
    name: str,
    baseline: Mapping,
    vectors: str | None,
    workers: int = 1,
    code: str = "",
) -> None:
    """Scores one baseline of the config on every task, as score_checkpoint scores a checkpoint: rows with adapter
    `baseline`, prompt and pooling `none`, in tables {name}/{task}.parquet beside the manifest `out`.

    vectors: the manifest of its vectors, for kinds that have them.
    """
    started = time.time()
    folder, parts = Path(out).parent / name, []
    for task in tasks:
        file = listed_file(vectors, f"{name}/{task.name}.safetensors") if vectors else None
        parts.append(
            part_of(str(folder / f"{task.name}.parquet"), task, BaselineScores(name, baseline, file), out, code)
        )
    computed = score_parts(parts, workers)
    inputs = [path for task in tasks for path in (task.labelled, task.texts)] + ([vectors] if vectors else [])
    files = [file for part in parts for file in part.files]
    write_manifest(out, files, computed=computed, inputs=inputs, spec={"baseline": dict(baseline)}, started=started)


def average(draws: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several seeds of one baseline as one set of rows: the mean value, experiment by experiment and replicate by
    replicate.
    """
    from ..statistics.samples import REPLICATE_COLUMN
    from .mteb_results import SCORE_COLUMNS

    keys = [column for column in SCORE_COLUMNS if column not in ("value", REPLICATE_COLUMN)]
    groups = pd.concat(draws).groupby(keys, sort=False, as_index=False)
    return groups.agg({"value": "mean", REPLICATE_COLUMN: _mean_replicates})[SCORE_COLUMNS]


def _mean_replicates(rows: pd.Series) -> np.ndarray | None:
    return None if rows.isna().any() else np.mean(np.stack(rows.tolist()), axis=0)


def inline_vectors(texts: Sequence[str], spec: Mapping) -> Iterator[np.ndarray]:
    """Matrices float32 [n, dim] of a cheap baseline: one per seed for `random`, one per dimension for `tfidf-svd`."""
    if spec["kind"] == "random":
        for seed in range(spec["seeds"]):
            yield np.random.default_rng(seed).standard_normal((len(texts), spec["dim"]), dtype=np.float32)
    else:
        yield from (tfidf_svd(texts, dim) for dim in dims(spec))


def dims(spec: Mapping) -> list[int]:
    """The dimensions of a baseline of kind `tfidf-svd`, which are a number or a list."""
    return spec["dim"] if isinstance(spec["dim"], list) else [spec["dim"]]


def tfidf_svd(texts: Sequence[str], dim: int) -> np.ndarray:
    """Latent semantic analysis: sublinear TF-IDF of words, truncated SVD, rows of length 1. float32 [n, dim].

    `dim` is lowered to what the texts' vocabulary allows. Texts without a word of two letters, such as emoji or answers
    of one letter, are split at white space instead.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    common = 2 if len(texts) > 100 else 1
    words = {"stop_words": "english", "min_df": common}, {"token_pattern": r"\S+", "min_df": 1}
    for how in words:
        try:
            counts = TfidfVectorizer(sublinear_tf=True, **how).fit_transform(texts)
            break
        except ValueError:  # no words are left
            continue
    else:
        raise PromptpoolError("tfidf-svd: all texts are blank; remove the baseline, or give texts with words")
    dim = min(dim, counts.shape[1] - 1, len(texts) - 1)
    if dim < 1:  # a single word in all, or a single text: nothing to rotate
        return normalize(counts.toarray()).astype(np.float32)
    return normalize(TruncatedSVD(dim, random_state=0).fit_transform(counts)).astype(np.float32)
