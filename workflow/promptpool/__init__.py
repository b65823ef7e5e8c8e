"""promptpool: text embeddings from decoder-only language models."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """Loads `from promptpool import Embedder` lazily, so that reading the config does not import torch."""
    if name == "Embedder":
        from .embedding.embedder import Embedder

        return Embedder
    raise AttributeError(f"module 'promptpool' has no attribute {name!r}")
