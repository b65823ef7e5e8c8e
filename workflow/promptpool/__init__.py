"""promptpool: text embeddings from decoder-only language models."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`from promptpool import Embedder`, without paying for torch where only the config is read."""
    if name == "Embedder":
        from .embedding.embedder import Embedder

        return Embedder
    raise AttributeError(f"module 'promptpool' has no attribute {name!r}")
