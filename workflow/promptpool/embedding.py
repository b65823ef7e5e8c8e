"""The embeddings stage: one family of prompts over one task's texts, every pooling and layer, one file."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from .artifacts import write_sidecar
from .embedder import Embedder
from .errors import PromptpoolError
from .templates import Template
from .vectors import write_vectors


def embed_family(
    out: str,
    *,
    model: str,
    revision: str | None,
    adapter: str | None,
    texts: str,
    prompts: Mapping[str, str],
    poolings: Sequence[str],
    layers: Sequence[int],
    max_text_tokens: int,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Writes safetensors with keys "prompt/pooling/layer", float32 [texts, dim], rows in the order of `texts`.

    The sidecar keeps each rendered template and the token ids of the first text, so that no one has to
    guess the prompt behind a score.
    """
    started = time.time()
    known = pd.read_parquet(texts)["text"].tolist()
    if not known:
        raise PromptpoolError(f"{texts}: no texts; check the task that recorded them")
    embedder = Embedder.load(
        model, adapter, revision=revision, device=device, dtype=dtype, max_text_tokens=max_text_tokens
    )
    with tqdm(total=len(known), desc="embed", unit="text", mininterval=2) as bar:
        vectors = embedder.grid(known, prompts, poolings, layers, progress=lambda done, total: bar.update(done - bar.n))
    write_vectors(out, vectors)
    example = {
        name: {
            "template": template,
            "ids": list(embedder.composer.compose(Template.parse(name, template), known[0]).ids),
        }
        for name, template in prompts.items()
    }
    seconds = time.time() - started
    write_sidecar(
        out,
        inputs=[path for path in (texts, model, adapter) if path and Path(path).exists()],
        spec={"model": model, "revision": revision, "poolings": list(poolings), "layers": list(layers)},
        started=started,
        device=str(embedder.backbone.device),
        dtype=str(embedder.backbone.model.dtype),
        token_budget=embedder.batches.budget.tokens,
        texts=len(known),
        texts_per_second=round(len(known) / seconds, 1),
        prompts=example,
    )
