"""The embeddings stage: one family of prompts over one task's texts, every pooling and layer, one file."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from ..artifacts.files import file_digest, text_digest, write_sidecar
from ..errors import PromptpoolError
from ..models.backbone import pick_device
from ..models.checkpoint import Checkpoint
from ..models.precision import in_words, processor
from ..templates import Template
from ..variants import Layer, layer_name, layer_number
from .embedder import Embedder
from .vector_file import VectorFile, stored_dtype


@dataclass(frozen=True)
class Grid:
    """What is extracted from each text, and how it is stored. See the config reference for each key."""

    poolings: Sequence[str]
    layers: Sequence[Layer]
    max_text_tokens: int
    tokenization: str = "composed"
    text_normalisation: str = "none"
    storage: str = "auto"


@dataclass(frozen=True)
class FamilyWork:
    """Everything that changes the vectors of one file, except its texts."""

    checkpoint: Checkpoint
    prompts: Mapping[str, str]
    grid: Grid

    def embedder(self, device: str) -> Embedder:
        made = self.checkpoint
        return Embedder.load(
            made.model,
            made.adapter,
            revision=made.revision,
            device=device,
            dtype=made.dtype,
            max_text_tokens=self.grid.max_text_tokens,
            tokenization=self.grid.tokenization,
            text_normalisation=self.grid.text_normalisation,
        )


def embed_family(
    out: str,
    *,
    texts: str,
    prompts: Mapping[str, str],
    checkpoint: Checkpoint,
    grid: Grid,
    scratch: str | None = None,
    workers: int = 1,
    code: str = "",
) -> None:
    """Writes safetensors with keys "prompt/pooling/layer", [texts, dim], rows in the order of `texts`.

    Vectors stream to `scratch` (`{out}.scratch` if None). A killed job resumes at the first missing chunk if nothing
    that affects the vectors has changed: the arguments, the files, `code`. workers: GPUs to share the texts between,
    one process each. The sidecar keeps each rendered template, the token ids of the first text and the number of each
    layer, so that the prompt and the layer behind a score are known.
    """
    started = time.time()
    known = pd.read_parquet(texts)["text"].tolist()
    if not known:
        raise PromptpoolError(f"{texts}: no texts; check the task that recorded them")
    work = FamilyWork(checkpoint, dict(sorted(prompts.items())), grid)
    place = pick_device(checkpoint.device)
    embedder = work.embedder(str(place))
    if place.type == "cuda":
        workers = min(workers, torch.cuda.device_count())
    kind = stored_dtype(grid.storage, len(known))
    dims = embedder.dims(grid.poolings)
    keys = {
        (prompt, pooling, layer): dims[pooling]
        for prompt in prompts
        for pooling in grid.poolings
        for layer in grid.layers
    }
    made_of = made(work, kind, texts, code, embedder)
    file = VectorFile(out, scratch or f"{out}.scratch", made_of, keys, len(known), kind)
    again = file.rows_finished()
    with tqdm(total=len(known), initial=again, desc="embed", unit="text", mininterval=2) as bar:
        tokens = embed_shared(embedder, work, file, known, workers, bar) if again < len(known) else 0
    file.finish()
    depth = embedder.depth()
    seconds = time.time() - started
    write_sidecar(
        out,
        inputs=[texts, *checkpoint.files],
        spec={**checkpoint.weights, "prompts": work.prompts, **vars(grid), "storage": kind},
        started=started,
        device=str(embedder.backbone.device),
        dtype=str(embedder.backbone.model.dtype),
        precision=in_words(embedder.backbone.precision),
        processor=processor(embedder.backbone.device),
        tuning_kept=embedder.backbone.kept,
        one_pass=embedder.batches.takes_trees,
        exportable=embedder.exportable,
        token_budget=embedder.batches.budget.tokens,
        workers=workers,
        layer_numbers={layer_name(layer): layer_number(layer, depth) for layer in grid.layers},
        texts=len(known),
        texts_resumed=again,
        tokens=tokens,
        texts_per_second=round((len(known) - again) / seconds, 1),
        tokens_per_second=round(tokens / seconds, 1),
        prompts={name: example(embedder, name, template, known[0]) for name, template in prompts.items()},
    )


def embed_shared(
    embedder: Embedder, work: FamilyWork, file: VectorFile, texts: Sequence[str], workers: int, bar: tqdm
) -> int:
    """Writes all missing chunks: this process its share, and `workers` - 1 others theirs. Returns the tokens run."""
    started = time.time()

    def progress(done: int) -> None:
        bar.set_postfix_str(f"{embedder.batches.tokens / (time.time() - started):,.0f} tokens/s", refresh=False)
        bar.update(max(0, max(done, file.rows_finished()) - bar.n))

    size = embedder.chunk_size(work.prompts, work.grid.poolings, work.grid.layers)
    if workers <= 1:
        return write_share(embedder, work, file, texts, size, 0, 1, progress)
    size = min(size, math.ceil(len(texts) / workers))
    with ProcessPoolExecutor(workers - 1, mp_context=get_context("spawn")) as pool:
        kind = embedder.backbone.device.type
        devices = [f"{kind}:{share}" if kind == "cuda" else kind for share in range(workers)]
        others = [pool.submit(run_share, work, file, texts, size, share, devices) for share in range(1, workers)]
        own = write_share(embedder, work, file, texts, size, 0, workers, progress)
        tokens = own + sum(other.result() for other in others)
    file.reread()
    return tokens


def run_share(
    work: FamilyWork, file: VectorFile, texts: Sequence[str], size: int, share: int, devices: Sequence[str]
) -> int:
    """Another process's share of the texts, on its own device."""
    return write_share(work.embedder(devices[share]), work, file, texts, size, share, len(devices))


def write_share(
    embedder: Embedder,
    work: FamilyWork,
    file: VectorFile,
    texts: Sequence[str],
    size: int,
    share: int,
    workers: int,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Writes every `workers`-th chunk of `size` texts, unless it exists.

    Returns the tokens run. `progress` gets the number of texts done.
    """

    def others(rows: range) -> bool:
        return rows.start // size % workers != share or file.has(rows)

    def report(done: int, _total: int) -> None:
        file.reread()
        progress(done if workers == 1 else 0)

    chunks = embedder.chunks(
        texts, work.prompts, work.grid.poolings, work.grid.layers, skip=others, size=size, progress=report
    )
    for rows, vectors in chunks:
        file.write(rows, vectors)
    return embedder.batches.tokens


def made(work: FamilyWork, kind: str, texts: str, code: str, embedder: Embedder) -> str:
    """Identifies what the vectors depend on. A model's files count by size and time, as their digest takes minutes."""
    made_of = work.checkpoint
    files = [file_digest(texts), file_digest(made_of.adapter) if made_of.adapter else ""]
    for path in sorted(Path(made_of.model).glob("*")) if Path(made_of.model).is_dir() else []:
        files.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
    what = repr((made_of.weights, work.prompts, work.grid))
    how = [str(embedder.backbone.model.dtype), repr(embedder.backbone.precision), kind, code]
    return text_digest("\0".join([what, *files, *how]))[:16]


def example(embedder: Embedder, name: str, template: str, text: str) -> dict:
    """A prompt as the model reads it."""
    parsed = Template.parse(name, template)
    joint = embedder.joint
    ids = embedder.composer.joint(parsed, [text])[0] if joint else list(embedder.composer.compose(parsed, text).ids)
    return {"template": template, "ids": ids}
