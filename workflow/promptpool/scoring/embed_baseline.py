"""The vectors of embedding models trained by others, which a tuned model must beat."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..artifacts.files import write_sidecar
from ..embedding.vector_file import write_vectors
from ..errors import PromptpoolError
from ..hub.safe_loading import require_safetensors

EMBEDDED = "sentence-transformers"  # the kind whose vectors get a file and a device


def embed_baseline(out: str, *, texts: str, name: str, spec: Mapping, device: str = "auto") -> None:
    """Writes one sentence-transformers model's vectors of a task's texts, float32, under the key "none/none/0"."""
    from ..models.backbone import pick_device
    from ..models.precision import EXACT, in_words, processor

    started = time.time()
    known = pd.read_parquet(texts, columns=["text"])["text"].tolist()
    place = pick_device(device)
    matrix = sentence_vectors(known, spec, f"baselines.{name}", str(place))
    write_vectors(out, {("none", "none", 0): matrix})
    write_sidecar(
        out, inputs=[texts], spec=spec, started=started, texts=len(known), dim=matrix.shape[1],
        device=str(place), precision=in_words(EXACT), processor=processor(place),
    )  # fmt: skip


def sentence_vectors(texts: Sequence[str], spec: Mapping, where: str, device: str = "auto") -> np.ndarray:
    """float32 [n, dim] from any model that `SentenceTransformer(path)` loads. Raises PromptpoolError if it can't be
    loaded, and for a vector that is not finite.

    spec: `path` (directory or hub id); `revision`; `prompt` (a template with one {text}, filled before the model's own
    tokenizer); `max_text_tokens` (of prompt and text together; null: the model's own); `trust_remote_code` (whether
    code of the model's repository may run).
    """
    from sentence_transformers import SentenceTransformer

    from ..models.precision import exact

    require_safetensors(spec["path"], spec["revision"], f"{where}.path")
    try:
        model = SentenceTransformer(
            spec["path"],
            revision=spec["revision"],
            device=None if device == "auto" else device,
            trust_remote_code=spec["trust_remote_code"],
        )
    except Exception as error:  # each backend has its own exceptions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "trust_remote_code" in str(error):
            reason = f"it brings its own code; if you have read that code and trust it: {where}.trust_remote_code: true"
        raise PromptpoolError(
            f"{where}.path: {spec['path']!r} can't be loaded by sentence-transformers: {reason}"
        ) from None
    if spec["max_text_tokens"]:
        model.max_seq_length = spec["max_text_tokens"]
    model.default_prompt_name = None  # only the config's prompt is put around a text
    before, _, after = spec["prompt"].partition("{text}")
    require_whole_prompt(model, texts, before, after, where)
    model.float()  # a model saved in bfloat16 would run in it
    with exact(model.device):
        matrix = model.encode([before + text + after for text in texts], convert_to_numpy=True, show_progress_bar=True)
    matrix = np.asarray(matrix, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise PromptpoolError(f"{where}: the vector of {texts[bad[0]][:80]!r} is not finite; check the model")
    return matrix


def require_whole_prompt(model, texts: Sequence[str], before: str, after: str, where: str) -> None:
    """Raises PromptpoolError if the model's limit would cut off a part of the prompt, not only of the text."""
    most = model.max_seq_length
    if not isinstance(most, int) or not (before or after):
        return
    count = model.tokenizer
    head = len(count(before, verbose=False)["input_ids"]) if before else 0
    longest = max(texts, key=len, default="")
    taken = len(count(before + longest + after, verbose=False)["input_ids"]) if after else head
    if taken > most:
        cut = f"the end of the prompt is cut off {longest[:60]!r}" if after else "the prompt leaves no space for a text"
        raise PromptpoolError(f"{where}.prompt: with {most} tokens {cut}; raise max_text_tokens, or put {{text}} last")
