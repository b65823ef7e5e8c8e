"""The map stage: one task's texts in two dimensions, before and after tuning, and how often neighbours share labels.

The coordinates are computed here and drawn elsewhere, so that changing a colour recomputes nothing.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import atomic_path, text_digest, write_sidecar
from ..artifacts.parts import listed_file
from ..embedding.vector_file import read_vectors
from ..errors import PromptpoolError
from ..variants import Key, key_text, split_adapter_id

NEIGHBOURS = 10
COMPONENTS = 50  # principal components that t-SNE starts from, as van der Maaten and Hinton (2008) do
LOST = "(no label)"


def map_texts(
    out: str,
    *,
    vectors: Mapping[str, tuple[str, str]],
    texts: str,
    labels: Mapping[str, str],
    key: Key,
    most: int,
    seed: int,
) -> None:
    """Writes a table with a row for each text and checkpoint: adapter, step, text, label, x, y, same.

    vectors: adapter id -> the manifest of its embeddings and the name of the file in it that holds `key` (prompt,
    pooling, layer). texts: the task's texts, in the files' order. labels: text -> label; texts without one are left
    out. most: how many texts are shown, drawn by seed. `same` is the share of a text's 10 nearest neighbours (cosine,
    in the full space, among those shown) that have its label, which the map can only hint at. Raises PromptpoolError
    if fewer than 5 texts have a label.
    """
    started = time.time()
    known = pd.read_parquet(texts, columns=["text"])["text"].tolist()
    rows = [row for row, text in enumerate(known) if text in labels]
    if len(rows) < 5:
        raise PromptpoolError(f"map.task: {texts} has {len(rows)} texts with a label; name a task with labelled texts")
    # Independent of the other texts, and in an order that says nothing about their labels.
    rows = sorted(rows, key=lambda row: text_digest(f"{seed}:{known[row]}"))[:most]
    shown = pd.DataFrame({"text": [known[row] for row in rows], "label": [labels[known[row]] for row in rows]})
    tables = []
    files = {adapter: listed_file(*place) for adapter, place in vectors.items()}
    for adapter, file in files.items():
        matrix = _matrix(file, key)[rows]
        name, step = split_adapter_id(adapter)
        place = embed_2d(matrix, seed)
        table = shown.assign(adapter=name, step=step, x=place[:, 0], y=place[:, 1])
        tables.append(table.assign(same=same_label(matrix, shown["label"].to_numpy())))
    table = pd.concat(tables, ignore_index=True)[["adapter", "step", "text", "label", "x", "y", "same"]]
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    inputs = [texts, *files.values()]
    write_sidecar(out, inputs=inputs, spec={"key": key_text(key), "texts": most, "seed": seed}, started=started)


def _matrix(file: str, key: Key) -> np.ndarray:
    found = read_vectors(file)
    if key not in found:
        raise PromptpoolError(f"{file}: no vectors {key_text(key)}; add them to the grid, or name others in map")
    return found[key]


def embed_2d(matrix: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008) of unit vectors: float64 [n, 2], centred, the widest side from -1 to 1.

    Starts from the principal components, so the result hardly depends on the seed (Kobak and Berens 2019).
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = _unit(matrix)
    count = min(COMPONENTS, *unit.shape)
    # Few texts have few neighbours, so the perplexity is at most a third of them.
    perplexity = min(30.0, (len(unit) - 1) / 3)
    with threadpool_limits(1):  # many threads that wait for each other take ten times as long
        reduced = PCA(count, random_state=seed).fit_transform(unit)
        place = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)
    place = place.astype(float) - (place.max(axis=0) + place.min(axis=0)) / 2
    return place / (np.abs(place).max() or 1.0)


def same_label(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each row, the share of its nearest other rows (cosine) with its label: float [n]."""
    unit = _unit(matrix)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    count = min(NEIGHBOURS, len(unit) - 1)
    near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return (labels[near] == labels[:, None]).mean(axis=1)


def _unit(matrix: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.maximum(lengths, 1e-12)


def task_labels(name: str, spec: Mapping, labelled: str | Path) -> dict[str, str]:
    """Text -> label of a clustering task: from its labelled file, or for an MTEB task from MTEB's own data.

    The first level of a hierarchy counts. A text with two labels gets the first.
    """
    table = pd.read_parquet(labelled)
    if len(table):
        pairs = zip(table["text"], table["label"], strict=True)
    else:
        from ..tasks.mteb_tasks import TaskSource

        pairs = _mteb_labels(TaskSource(name, spec, None).fresh())
    labels: dict[str, str] = {}
    for text, label in pairs:
        labels.setdefault(text, str(label))
    return labels


def _mteb_labels(task: object) -> Iterator[tuple[str, object]]:
    """(text, label) of every document of both clustering formats: rows of documents, or rows of sets of documents."""
    for split in _splits(task.dataset):
        if not {"sentences", "labels"} <= set(split.column_names):
            continue
        for text, label in zip(split["sentences"], split["labels"], strict=True):
            if isinstance(text, str):
                yield text, _named(label)
            else:
                yield from zip(text, map(_named, label), strict=True)


def _named(label: object) -> object:
    """The first level of a hierarchy; LOST if there is no label."""
    first = (label[0] if label else None) if isinstance(label, list | tuple) else label
    return LOST if first is None else first


def _splits(data: object) -> Iterator[object]:
    """The tables of a task's data, stored by split or by subset and split."""
    if hasattr(data, "column_names") and not isinstance(data, Mapping):
        yield data
    elif isinstance(data, Mapping):
        for part in data.values():
            yield from _splits(part)
