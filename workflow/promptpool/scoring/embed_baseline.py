"""The vectors of embedding models trained by others, which a tuned model must beat."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import content_identity, write_sidecar
from ..artifacts.parts import digest_of_part, fetch_part, is_kept, store_part, texts_digest, write_manifest
from ..embedding.vector_file import write_vectors
from ..errors import PromptpoolError
from ..hub.safe_loading import require_safetensors
from .baseline_lengths import baseline_lengths

EMBEDDED = ("sentence-transformers", "openai")  # the kinds whose vectors get a file


def embed_baseline(
    out: str, *, texts: Mapping[str, str], name: str, spec: Mapping, device: str = "auto", code: str = "",
    server: Mapping | None = None,
) -> None:  # fmt: skip
    """Writes one model's vectors of every task's texts, float32, under the key "none/none/0", to
    {name}/{task}.safetensors beside `out`, and at `out` the manifest that lists them.

    texts: task -> its recorded texts. server: how the server of a baseline of kind openai is reached, which changes no
    vector. A file that still depends on the same is kept.
    """
    from ..models.backbone import pick_device
    from ..models.precision import EXACT, in_words, processor
    from .served_vectors import ServedModel

    begun = time.time()
    served, where = spec["kind"] == "openai", f"baselines.{name}"
    place = pick_device("cpu" if served else device)
    paths, computed, model = [], [], None
    for task, file in texts.items():
        started = time.time()
        known = pd.read_parquet(file, columns=["text"])["text"].tolist()
        path, digest = str(Path(out).parent / name / f"{task}.safetensors"), texts_digest(known)
        made_of = digest_of_part(**_identity(spec), texts=digest, code=code)
        inputs = [file, *([spec["path"]] if not served and Path(spec["path"]).exists() else [])]
        paths.append(path)
        if is_kept(path, made_of) or fetch_part(path, made_of, inputs, out):
            continue
        if served:
            model = model or ServedModel(spec, server, where)
            matrix, cost = model.vectors(known)
            print(f"{where}: {len(known)} texts, {cost['requests']} requests, {cost['tokens']} tokens", flush=True)
        else:
            model, cost = model or baseline_model(spec, where, str(place)), {}
            matrix = sentence_vectors(known, spec, where, model)
        write_vectors(path, {("none", "none", 0): matrix})
        write_sidecar(
            path, inputs=inputs, spec=spec, started=started, texts=len(known), dim=matrix.shape[1],
            made_of=made_of, texts_digest=digest, manifest=out,
            **(cost or {"device": str(place), "precision": in_words(EXACT), "processor": processor(place)}),
            **baseline_lengths(known, spec, model),
        )  # fmt: skip
        store_part(path, made_of)
        computed.append(path)
    if served and model:
        model.close()
    write_manifest(out, paths, computed=computed, inputs=list(texts.values()), spec=spec, started=begun)


def _identity(spec: Mapping) -> dict:
    """What decides the vectors, besides the texts. A server's address does not: its model is known by name."""
    if spec["kind"] == "openai":
        return {key: spec[key] for key in ("kind", "model", "prompt", "dimensions", "max_characters")}
    read = ("prompt", "max_text_tokens", "trust_remote_code")
    return {"model": content_identity(spec["path"], spec["revision"]), **{key: spec.get(key) for key in read}}


def baseline_model(spec: Mapping, where: str, device: str = "auto"):
    """Any model that `SentenceTransformer(path)` loads, in float32. Raises PromptpoolError if it can't be loaded.

    spec: `path` (directory or hub id); `revision`; `max_text_tokens` (of prompt and text together; null: the model's
    own); `trust_remote_code` (whether code of the model's repository may run).
    """
    from sentence_transformers import SentenceTransformer

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
    return model.float()  # a model saved in bfloat16 would run in it


def sentence_vectors(texts: Sequence[str], spec: Mapping, where: str, model) -> np.ndarray:
    """float32 [n, dim] from a `baseline_model`. Raises PromptpoolError for a vector that is not finite.

    spec: `prompt` is a template with one {text}, filled before the model's own tokenizer.
    """
    from ..models.precision import exact

    before, _, after = spec["prompt"].partition("{text}")
    require_whole_prompt(model, texts, before, after, where)
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
