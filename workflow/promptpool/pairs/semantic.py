"""How close a positive's meaning is to its text's, according to an embedder that the config names."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE, require_safetensors
from ..templates import Template

PAIRS_EMBEDDED = 10_000  # pairs embedded at a time; bounds memory

Encode = Callable[[Sequence[str]], np.ndarray]


def similarities(
    texts: Sequence[str],
    positives: Sequence[str],
    spec: Mapping,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Cosine of each text's vector and its positive's, float32 [n], -1 to 1.

    spec: `model`, a directory or hub id of a decoder or of a sentence-transformers model (it has a modules.json);
    `revision`; `prompt`, a template with one `{text}`; `pooling`, only for a decoder, because a sentence-transformers
    model has its own. Defaults: no revision, the bare text, mean pooling. Raises PromptpoolError for a model that
    can't be loaded, and for a vector without a direction, naming the text.
    """
    if len(positives) != len(texts):
        raise ValueError(f"{len(texts)} texts and {len(positives)} positives: give one positive for each text")
    encode = load_encoder(spec, device)
    cosines = np.empty(len(texts), dtype=np.float32)
    for start in range(0, len(texts), PAIRS_EMBEDDED):
        part = slice(start, start + PAIRS_EMBEDDED)
        left, right = list(texts[part]), list(positives[part])
        unique = list(dict.fromkeys(left + right))
        vectors = _directions(encode(unique), unique, spec["model"])
        place = {text: row for row, text in enumerate(unique)}
        rows, others = vectors[[place[t] for t in left]], vectors[[place[t] for t in right]]
        cosines[part] = np.clip(np.einsum("nd,nd->n", rows, others), -1, 1)
        if progress:
            progress(min(start + PAIRS_EMBEDDED, len(texts)), len(texts))
    return cosines


def load_encoder(spec: Mapping, device: str = "auto") -> Encode:
    """texts -> float32 [n, dim], in order. Imports torch only when called."""
    from sentence_transformers.util import is_sentence_transformer_model

    name, revision, prompt = spec["model"], spec.get("revision"), spec.get("prompt") or "{text}"
    try:
        if is_sentence_transformer_model(name, revision=revision):
            return _sentence_encoder(name, revision, Template.parse("semantic", prompt), device)
        from ..embedding.embedder import Embedder

        embedder = Embedder.load(name, revision=revision, device=device, causal=spec.get("causal", True))
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PromptpoolError(f"semantic.model {name!r} can't be loaded: {reason}; fix the path or the id") from error
    pooling = spec.get("pooling") or "mean"
    return lambda texts: embedder.encode(texts, prompt=prompt, pooling=pooling)


def _sentence_encoder(name: str, revision: str | None, template: Template, device: str) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    from ..models.precision import exact

    require_safetensors(name, revision, "semantic.model")
    place = None if device == "auto" else device
    exactly = {"dtype": torch.float32}  # a model saved in bfloat16 would otherwise run in it
    model = SentenceTransformer(name, revision=revision, device=place, model_kwargs=exactly, **NO_CODE)

    def encode(texts: Sequence[str]) -> np.ndarray:
        prompted = [template.prefix + text + template.suffix for text in texts]
        with exact(model.device):
            return model.encode(prompted, show_progress_bar=False, convert_to_numpy=True)

    return encode


def _directions(vectors: np.ndarray, texts: Sequence[str], model: str) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lost = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(lost):
        raise PromptpoolError(
            f"semantic.model {model!r}: the vector of {texts[lost[0]][:80]!r} is zero or not finite; use another model"
        )
    return vectors / lengths
