"""Ensembles of prompts (MetaEOL, arXiv 2402.18458): the mean of their vectors, computed from existing files."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..artifacts.files import write_sidecar
from ..errors import PromptpoolError
from ..variants import Key, key_text
from .vector_file import VectorFile, Vectors, stored_dtype


def variants_of(vectors: Mapping[Key, object], prompts: Sequence[str], name: str) -> list[tuple]:
    """(pooling, layer) of every variant that all prompts have."""
    known = [{(pooling, layer) for prompt, pooling, layer in vectors if prompt == wanted} for wanted in prompts]
    for prompt, own in zip(prompts, known, strict=True):
        if not own:
            raise PromptpoolError(f"ensembles.{name}: no vectors of prompt {prompt!r}; add it to grid.prompts")
    return sorted(set.intersection(*known))


def families_of(prompts: Sequence[str], families: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The families that contain an ensemble's prompts."""
    return [family for family, own in families.items() if set(own) & set(prompts)]


def embed_ensemble(
    out: str, *, name: str, prompts: Sequence[str], files: Sequence[str], storage: str = "auto", **facts: object
) -> None:
    """Writes an ensemble's embeddings file from its prompts' files, one variant at a time. facts: for its sidecar."""
    started = time.time()
    sources: dict[Key, Vectors] = {}
    for path in files:
        opened = Vectors(path)
        sources |= dict.fromkeys(opened, opened)
    keys = {(name, pooling, layer): (pooling, layer) for pooling, layer in variants_of(sources, prompts, name)}
    shapes = {key: sources[prompts[0], *variant].shape((prompts[0], *variant)) for key, variant in keys.items()}
    rows = next(iter(shapes.values()))[0]
    dims = {key: shape[1] for key, shape in shapes.items()}
    file = VectorFile(out, f"{out}.scratch", "mean", dims, rows, stored_dtype(storage, rows))
    for key, variant in keys.items():
        total = np.zeros(shapes[key], dtype=np.float32)
        for prompt in prompts:
            total += sources[prompt, *variant][(prompt, *variant)]
        file.write(range(rows), {key: total / len(prompts)})
    file.finish()
    variants = [key_text(key) for key in keys]
    write_sidecar(
        out, inputs=[Path(path) for path in files], spec={"prompts": list(prompts)}, started=started,
        variants=variants, **facts,
    )  # fmt: skip
