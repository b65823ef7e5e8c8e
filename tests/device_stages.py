"""Stages that run a model, as functions of a device: what tests/gpu and the pretended GPU compare with the CPU."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from promptpool.attention.measure_attention import measure_attention
from promptpool.attention.spans import SPANS
from promptpool.embedding.embedder import Embedder
from promptpool.generation.backend import Request, WriterSetup, Written, open_backend
from promptpool.models.checkpoint import Checkpoint
from promptpool.pairs.semantic import similarities
from tiny import TEXTS

PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:', "sum": 'This sentence: "{text}" is'}
POSITIVES = [*TEXTS[1:], TEXTS[0]]
ATTENTION = {
    "sentence": "the harbour", "samples": 1, "layers": "all", "heads": True, "function_words": None,
    "max_text_tokens": 16, "text_normalisation": "none",
}  # fmt: skip
Found = dict[object, np.ndarray]


def joint_vectors(model: Path, device: str) -> Found:
    """Joint tokenization: a pass a prompt, no shared head."""
    engine = Embedder.load(str(model), device=device, dtype="float32", tokenization="joint")
    return engine.grid(TEXTS, PROMPTS, ["mean", "last", "attention"], [-1])


def separate_vectors(model: Path, device: str) -> Found:
    """A model that takes no tree mask: every prompt in a pass of its own, through the model's own attention."""
    engine = Embedder.load(str(model), device=device, dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert not engine.batches.takes_trees
    return engine.grid(TEXTS, PROMPTS, ["mean", "last", "attention", "max"], [-1, 0.5])


def attention_columns(model: Path, device: str, folder: Path) -> Found:
    """The attention stage's numbers, from its file."""
    out = folder / f"{device.replace(':', '-')}.parquet"
    measure_attention(
        out, checkpoint=Checkpoint(str(model), dtype="float32", device=device), adapter_id="base", model_name="tiny",
        prompts={"eol": PROMPTS["eol"]}, texts=TEXTS, spec=ATTENTION,
    )  # fmt: skip
    table = pd.read_parquet(out)
    return {column: table[column].to_numpy() for column in (*SPANS, "entropy", "length", "layer", "head")}


def written(model: Path, device: str, batch_size: int = 3) -> list[Written]:
    """Texts of the transformers backend, sampled with seeds."""
    sampling = {"max_new_tokens": 6, "temperature": 0.9, "top_p": 0.95}
    requests = [Request(text, False, seed) for seed, text in enumerate(TEXTS)]
    options = {"batch_size": batch_size}
    setup = WriterSetup(str(model), None, sampling, options, needs_chat=False, device=device, dtype="float32")
    with open_backend("transformers", setup) as backend:
        return backend.write(requests)


def semantic_cosines(model: Path, device: str) -> np.ndarray:
    """The semantic filter, by a decoder or a sentence-transformers directory."""
    spec = {"model": str(model), "prompt": "the meaning of {text} is", "pooling": "last"}
    return similarities(TEXTS, POSITIVES, spec, device)


def close(found: Found, wanted: Found, share: float) -> bool:
    """Whether no value is off by more than a share of its array's largest."""
    return found.keys() == wanted.keys() and all(
        np.abs(found[key] - wanted[key]).max() <= share * np.abs(wanted[key]).max() for key in wanted
    )
