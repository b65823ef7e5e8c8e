"""What short and small vectors keep of a run's scores, read from its stored vectors without MTEB: seconds a checkpoint.

    python tests/bench/bench_short_vectors.py results/RUN MODEL ADAPTER@STEP... [--pooling last]

Ranges of bytes are of the fitting texts. A retrieval task gives nDCG@10 of its queries (one relevant document each),
any other the V-measure of ten k-means (scikit-learn) on all its labelled texts. Kept: the share of the whole vectors'
score, with a 95 % interval over queries, drawn 2,000 times, or over the k-means runs' starts. Prints JSON.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from promptpool.embedding.aggregation import Aggregation, unit
from promptpool.embedding.post_processing import fit
from promptpool.embedding.short_vectors import bytes_a_text
from promptpool.embedding.vector_file import read_vectors
from sklearn.cluster import KMeans
from sklearn.metrics import v_measure_score

FORMS = ["none", "cut(128)", "cut(64)", "cut(32)", "cut(16)", "int8", "binary", "cut(64)+int8", "cut(64)+binary"]
DEEP, DRAWS, STARTS = 10, 2_000, 10


def searches(labelled: pd.DataFrame, place: dict[str, int]) -> Callable[[np.ndarray], np.ndarray]:
    """vectors -> nDCG@10 of each query, whose only relevant document is known."""
    parts = {part: rows for part, rows in labelled.groupby("part")}
    queries, documents = ([place[text] for text in parts[name]["text"]] for name in ("query", "document"))
    number = {key: row for row, key in enumerate(parts["document"]["id"])}
    wanted = dict(zip(parts["relevant"]["id"], parts["relevant"]["other"], strict=True))
    own = np.array([number[wanted[key]] for key in parts["query"]["id"]])

    def ndcg(vectors: np.ndarray) -> np.ndarray:
        likeness = unit(vectors[queries]) @ unit(vectors[documents]).T
        ranks = (likeness > likeness[np.arange(len(own)), own][:, None]).sum(1)
        return np.where(ranks < DEEP, 1 / np.log2(ranks + 2), 0.0)

    return ndcg


def clusters(labelled: pd.DataFrame, place: dict[str, int]) -> Callable[[np.ndarray], np.ndarray]:
    """vectors -> the V-measure of each k-means."""
    rows, labels = [place[text] for text in labelled["text"]], labelled["label"]

    def measures(vectors: np.ndarray) -> np.ndarray:
        found = (
            KMeans(labels.nunique(), n_init=1, random_state=seed).fit_predict(vectors[rows]) for seed in range(STARTS)
        )
        return np.array([v_measure_score(labels, one) for one in found])

    return measures


def kept(short: np.ndarray, whole: np.ndarray) -> dict:
    """The share of the whole vectors' mean, and its 95 % interval over paired draws."""
    draws = np.random.default_rng(0).integers(0, len(whole), (DRAWS, len(whole)))
    shares = short[draws].mean(1) / whole[draws].mean(1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"score": round(100 * float(short.mean()), 2), "kept": round(100 * float(short.mean() / whole.mean()), 1),
            "low": round(100 * float(low), 1), "high": round(100 * float(high), 1)}  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("results", type=Path)
    asked.add_argument("model")
    asked.add_argument("adapters", nargs="+")
    asked.add_argument("--pooling", default="last")
    options = asked.parse_args()
    answer: dict = {}
    for adapter in options.adapters:
        folder = options.results / "embeddings" / options.model / adapter
        (fitting,) = (folder / "_fitting").glob("*.safetensors")
        stored = read_vectors(str(fitting))
        known = {key: fit(stored[key]) for key in stored if key[1] == options.pooling}
        for task in sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "_fitting"):
            place = pd.read_parquet(options.results / f"tasks/{task}/texts.parquet")["text"]
            place = {text: row for row, text in enumerate(place)}
            labelled = pd.read_parquet(options.results / f"tasks/{task}/labelled.parquet")
            measure = (searches if "part" in labelled else clusters)(labelled, place)
            vectors = read_vectors(str(folder / task / fitting.name))
            prompt, pooling, layer = next(key for key in vectors if key[1] == options.pooling)
            values = {}
            for form in FORMS:
                part = {"pooling": pooling, "layer": layer, "post_processing": form, "weight": 1}
                readout = Aggregation.of({"name": form, "layer": layer, "parts": [part], "scale": None})
                values[form] = measure(readout.read(prompt, vectors, known))
            width = vectors[prompt, pooling, layer].shape[1]
            answer.setdefault(task, {})[adapter] = {
                form: {"bytes": bytes_a_text(width, form), **kept(own, values["none"])} for form, own in values.items()
            }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
