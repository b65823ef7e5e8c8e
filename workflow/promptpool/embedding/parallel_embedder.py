"""One checkpoint's embedder for many files of vectors: loaded once in each process, one process for each GPU."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context

import torch

from ..models.backbone import pick_device
from ..models.checkpoint import Checkpoint
from ..models.precision import in_words, processor
from ..runtime.children import end_with_parent, forget_script
from ..variants import Layer, layer_name, layer_number
from .embedder import Embedder
from .text_lengths import MeasuredComposer
from .vector_file import VectorFile, written_behind


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
class Share:
    """A process's part of the work on one file: every `of`-th chunk of `size` texts, from chunk `number` on."""

    size: int
    number: int = 0
    of: int = 1


class ParallelEmbedder:
    """Embeds texts into files, on every GPU that the job has.

    The model is loaded when it is first needed, so a job that finds everything made loads none. `close` ends the other
    processes; a `with` block does it too.
    """

    def __init__(self, checkpoint: Checkpoint, grid: Grid, workers: int = 1, fuse: bool | None = None):
        """workers: GPUs, at most as many as there are. On a CPU, processes. fuse: see Embedder.load."""
        self.checkpoint, self.grid, self.fuse = checkpoint, grid, fuse
        self.place = pick_device(checkpoint.device)
        self.workers = min(workers, torch.cuda.device_count()) if self.place.type == "cuda" else workers
        self._others: list[ProcessPoolExecutor] = []

    @cached_property
    def embedder(self) -> Embedder:
        return load(self.checkpoint, self.grid, str(self.place), self.fuse)

    def __enter__(self) -> "ParallelEmbedder":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for other in self._others:
            other.shutdown(cancel_futures=True)
        self._others = []

    def decide_fusing(self, files: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> None:
        """Decides once, by the texts and the prompts of all files together, whether the layers are compiled.

        One small file must not undo what the others are worth, nor decide for a process of another GPU.
        """
        if self.fuse is None and files:
            embedder, axes = self.embedder, (self.grid.poolings, self.grid.layers)
            self.fuse = embedder.fuse = embedder.batches.worth_fusing(
                lambda: sum(embedder.tokens_of(*one, *axes) for one in files) // self.workers
            )

    def write(
        self, file: VectorFile, texts: Sequence[str], prompts: Mapping[str, str], progress: Callable[[int, float], None]
    ) -> int:
        """Writes the vectors of `texts` to a file's first places, except those that it has. Returns the tokens run.

        progress(texts done, tokens per second) counts the texts of all processes.
        """
        embedder, started = self.embedder, time.time()
        before = embedder.batches.tokens
        size = embedder.chunk_size(prompts, self.grid.poolings, self.grid.layers)
        if self.workers > 1:
            size = max(1, min(size, math.ceil(len(texts) / self.workers)))

        def report(done: int) -> None:
            if self.workers > 1:
                file.reread()  # what the other processes have done
            speed = (embedder.batches.tokens - before) / max(time.time() - started, 1e-9)
            progress(done if self.workers == 1 else min(len(texts), file.rows_finished()), speed)

        others = [
            process.submit(write_elsewhere, self.checkpoint, self.grid, device, file, texts, prompts, share, self.fuse)
            for process, device, share in self._shares(size)
        ]
        write_share(embedder, self.grid, file, texts, prompts, Share(size, 0, self.workers), report)
        tokens = embedder.batches.tokens - before
        for more, lengths in (other.result() for other in others):
            tokens += more
            embedder.composer.lengths |= lengths
        file.reread()
        return tokens

    def _shares(self, size: int) -> list[tuple[ProcessPoolExecutor, str, Share]]:
        """The other processes with their devices. Each keeps its model, so each has a pool of its own."""
        while len(self._others) < self.workers - 1:
            forget_script()
            context = get_context("spawn")  # a process that uses CUDA must not be forked
            self._others.append(ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent))
        kind = self.place.type
        devices = [f"{kind}:{number}" if kind == "cuda" else kind for number in range(self.workers)]
        return [
            (process, devices[number], Share(size, number, self.workers))
            for number, process in enumerate(self._others, start=1)
        ]


def load(checkpoint: Checkpoint, grid: Grid, device: str, fuse: bool | None = None) -> Embedder:
    """The embedder of a checkpoint on a device, which makes the grid's vectors and notes how long texts are."""
    embedder = Embedder.load(
        checkpoint.model,
        checkpoint.adapter,
        revision=checkpoint.revision,
        device=device,
        dtype=checkpoint.dtype,
        max_text_tokens=grid.max_text_tokens,
        tokenization=grid.tokenization,
        text_normalisation=grid.text_normalisation,
        fuse=fuse,
        causal=checkpoint.causal,
    )
    embedder.composer = MeasuredComposer(embedder.composer)
    return embedder


_OWN: list[Embedder] = []  # in another process: its embedder


def write_elsewhere(
    checkpoint: Checkpoint,
    grid: Grid,
    device: str,
    file: VectorFile,
    texts: Sequence[str],
    prompts: Mapping[str, str],
    share: Share,
    fuse: bool | None = None,
) -> tuple[int, dict[str, int]]:
    """In another process: its share, with the embedder that it keeps. Returns the tokens run, and those of each text
    before it was cut.
    """
    if not _OWN:
        _OWN.append(load(checkpoint, grid, device, fuse))
    (embedder,) = _OWN
    before = embedder.batches.tokens
    embedder.composer.lengths.clear()
    write_share(embedder, grid, file, texts, prompts, share)
    return embedder.batches.tokens - before, dict(embedder.composer.lengths)


def write_share(
    embedder: Embedder,
    grid: Grid,
    file: VectorFile,
    texts: Sequence[str],
    prompts: Mapping[str, str],
    share: Share,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Writes a share's chunks, except those that the file has. `progress` gets the number of texts done."""

    def skip(rows: range) -> bool:
        return rows.start // share.size % share.of != share.number or file.has(rows)

    chunks = embedder.chunks(
        texts, prompts, grid.poolings, grid.layers, skip=skip, size=share.size, progress=lambda done, _: progress(done)
    )
    with written_behind(file) as write:
        for rows, vectors in chunks:
            write(rows, vectors)


def run_facts(embedder: Embedder, grid: Grid) -> dict:
    """How the vectors were computed, for their sidecar."""
    backbone, depth = embedder.backbone, embedder.depth()
    return {
        "device": str(backbone.device),
        "dtype": str(backbone.model.dtype),
        "precision": in_words(backbone.precision),
        "processor": processor(backbone.device),
        "tuning_kept": backbone.kept,
        "one_pass": embedder.batches.takes_trees,
        "fused_layers": embedder.batches.fused is not None and embedder.batches.fused.works,
        "exportable": embedder.exportable,
        "token_budget": embedder.batches.budget.tokens,
        "layer_numbers": {layer_name(layer): layer_number(layer, depth) for layer in grid.layers},
    }
