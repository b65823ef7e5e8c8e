"""The parity stage: an exported model must give the pipeline's vectors, or the run fails."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer

from ..artifacts.files import write_json, write_sidecar
from ..embedding.embedder import Embedder
from ..errors import PromptpoolError
from ..models.checkpoint import Checkpoint
from ..models.precision import EXACT, exact, in_words, processor
from ..templates import ROLES, Template
from .readout_modules import Fitted
from .saved_layout import round_weights

PARITY = 0.9999
TEXTS = 100
BATCHES = (32, 1)
ENCODE = "encode"  # of sentence-transformers; with roles, encode_query and encode_document


def check_parity(
    exported: str,
    texts: str,
    out: str,
    *,
    spec: Mapping,
    checkpoint: Checkpoint,
    template: str | Mapping[str, str],
    readout: Fitted | None = None,
) -> None:
    """Fails unless the exported model gives the pipeline's vectors on 100 texts, in float32, at any batch size.

    template: by role, if the prompt is one of `roles`: `encode_query` and `encode_document` are then compared with the
    pipeline under each one's prompt, on 100 texts each. Every text needs a cosine of at least 0.9999 and equal length
    (within 0.1 %), else PromptpoolError names the text. Weights saved in bfloat16 are compared with the pipeline's own,
    rounded likewise. Writes {"texts", "batch_sizes", "lowest_cosine", "largest_difference", "lowest_cosine_unrounded"},
    and with roles "calls". The last cosine compares with the pipeline's unrounded vectors, so it is the cost of
    bfloat16.
    """
    started = time.time()
    engine = Embedder.load(
        checkpoint.model, checkpoint.adapter, revision=checkpoint.revision, device=checkpoint.device, dtype="float32",
        max_text_tokens=spec["max_text_tokens"], causal=checkpoint.causal,
    )  # fmt: skip
    place = str(engine.backbone.device)
    known = pd.read_parquet(texts)["text"].tolist()
    sides = {ENCODE: template} if isinstance(template, str) else {f"{ENCODE}_{role}": template[role] for role in ROLES}
    samples = {call: parity_texts(known, own, engine, spec["max_text_tokens"]) for call, own in sides.items()}

    unrounded = mine = vectors_by_call(engine, samples, sides, spec, readout)
    if spec["dtype"] != "float32":
        round_weights(engine.backbone.model, spec["dtype"])
        mine = vectors_by_call(engine, samples, sides, spec, readout)
    del engine  # only one model at a time in memory
    with pinned_base(exported, checkpoint.model, checkpoint.revision) as path:
        loaded = SentenceTransformer(path, device=place, model_kwargs={"dtype": torch.float32})
        with exact(loaded.device):
            theirs = {
                (call, size): getattr(loaded, call)(sample, batch_size=size, show_progress_bar=False)
                for call, sample in samples.items()
                for size in BATCHES
            }
    for (call, size), rows in theirs.items():
        compare(exported, samples[call], mine[call], rows, size)
    facts = {
        "texts": sum(map(len, samples.values())),
        "batch_sizes": list(BATCHES),
        "lowest_cosine": min(float(cosines(mine[call], rows).min()) for (call, _), rows in theirs.items()),
        "largest_difference": max(float(np.abs(mine[call] - rows).max()) for (call, _), rows in theirs.items()),
        "lowest_cosine_unrounded": min(
            float(cosines(unrounded[call], theirs[call, BATCHES[0]]).min()) for call in sides
        ),
        **({} if ENCODE in sides else {"calls": list(sides)}),
    }
    write_json(out, facts)
    write_sidecar(
        out,
        inputs=[texts, exported, *([readout.statistics] if readout else [])],
        spec=spec,
        started=started,
        device=place,
        dtype="float32",
        precision=in_words(EXACT),
        processor=processor(torch.device(place)),
    )


def vectors_by_call(
    engine: Embedder,
    samples: Mapping[str, Sequence[str]],
    templates: Mapping[str, str],
    spec: Mapping,
    readout: Fitted | None,
) -> dict[str, np.ndarray]:
    """What each call (`encode`, or one of each role) must return of its texts, by the pipeline."""
    return {call: pipeline_vectors(engine, samples[call], own, spec, readout) for call, own in templates.items()}


def pipeline_vectors(
    engine: Embedder, texts: Sequence[str], template: str, spec: Mapping, readout: Fitted | None = None
) -> np.ndarray:
    """The pipeline's vectors of one exported variant, float32 [n, dim], of length 1 if the export's are, then cut."""
    if readout:
        rows = readout.vectors(engine, texts, spec["prompt"], template)
    else:
        rows = engine.encode(texts, template, spec["pooling"], spec["layer"])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if spec["normalize"] else rows
    return rows[:, : spec.get("truncate_dim")]


def compare(where: str, texts: Sequence[str], mine: np.ndarray, theirs: np.ndarray, batch_size: int) -> None:
    """Raises PromptpoolError for the worst text whose two vectors differ. mine, theirs: float [n, dim]."""
    if mine.shape != theirs.shape:
        raise PromptpoolError(
            f"{where}: vectors of {theirs.shape[1]} dimensions, but the pipeline has {mine.shape[1]}; export it again"
        )
    found = cosines(mine, theirs)
    found = np.where(np.isfinite(found), found, -1)
    worst = int(found.argmin())
    if found[worst] < PARITY:
        raise PromptpoolError(
            f"{where}: cosine {found[worst]:.6f} to the pipeline's vector of {texts[worst][:60]!r} at batch size "
            f"{batch_size}, but at least {PARITY} is needed; report it with the model's name"
        )
    ratio = np.linalg.norm(theirs.astype(np.float64), axis=1) / np.linalg.norm(mine.astype(np.float64), axis=1)
    worst = int(np.abs(ratio - 1).argmax())
    if abs(ratio[worst] - 1) > 1e-3:
        raise PromptpoolError(
            f"{where}: the vector of {texts[worst][:60]!r} is {ratio[worst]:.4f} times as long as the pipeline's; "
            "check `normalize`, and export it again"
        )


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity row by row, float64 [n]."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def parity_texts(known: Sequence[str], template: str, engine: Embedder, max_text_tokens: int) -> list[str]:
    """100 texts: awkward ones, and the run's own, spread evenly over lengths. Texts without a token are left out."""
    parsed = Template.parse("parity", template)

    def pooled(text: str) -> bool:
        return bool(engine.composer.compose(parsed, text).ids)

    awkward = awkward_texts(template, str(engine.backbone.tokenizer.eos_token), max_text_tokens)
    odd = [text for text in awkward if pooled(text)]
    own = sorted((text for text in set(known) - set(odd) if pooled(text)), key=lambda text: (len(text), text))
    wanted = TEXTS - len(odd)
    if len(own) < wanted:  # too few texts: join pairs of them
        joined = (f"{a} {b}" for a, b in combinations(own, 2))
        own += [text for text, _ in zip(joined, range(wanted - len(own)), strict=False)]
    places = np.linspace(0, len(own) - 1, min(wanted, len(own))).round().astype(int) if own else []
    return odd + [own[place] for place in places]


def awkward_texts(template: str, special: str, max_text_tokens: int) -> list[str]:
    """Texts that may break a tokenizer or a prompt: nearly empty, too long, other scripts, braces, special tokens."""
    texts = [
        *("", " ", "\n\t", ".", "a", "  two  spaces ", "line\nbreak\ttab", 'ends in a quote"'),
        *("{text}", "{} {0} {text!r} {{", template, template.replace("{text}", "a {text} again")),
        *(f"{special} is a word here", "naïve café, Ångström", "e\u0301te\u0301", "日本語のテキスト。"),
        *("\U0001f642\U0001f680", "\u0645\u0631\u062d\u0628\u0627"),
        *("x" * 8 * max_text_tokens, "a long text that is cut " * max_text_tokens),
    ]
    return list(dict.fromkeys(texts))


@contextmanager
def pinned_base(exported: str, model: str, revision: str | None) -> Iterator[str]:
    """The export's path. For an adapter beside a hub model, a copy that names the cached snapshot of `revision`.

    sentence-transformers would use the hub's newest revision of the base, which is not what was exported.
    """
    config = Path(exported) / "adapter_config.json"
    if not config.is_file() or Path(model).is_dir() or not revision:
        yield exported
        return
    from transformers.utils.hub import cached_file

    snapshot = Path(cached_file(model, "config.json", revision=revision)).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(exported, Path(folder) / "model")
        content = json.loads(config.read_text(encoding="utf-8"))
        content["base_model_name_or_path"] = str(snapshot)
        (copy / config.name).write_text(json.dumps(content), encoding="utf-8")
        yield str(copy)
