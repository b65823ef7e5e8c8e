"""The embeddings stage: everything of one checkpoint, one file for each task and family of prompts."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..artifacts.files import content_identity, file_digest, sidecar_path, text_digest, write_sidecar
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import digest_of_part, fetch_part, is_kept, store_part, texts_digest, write_manifest
from ..errors import PromptpoolError
from ..models.checkpoint import Checkpoint
from ..models.precision import inference_precision
from ..templates import Template
from .chunk_means import drop_pieces, write_means
from .embed_ensemble import embed_ensemble, families_of
from .embedder import Embedder
from .known_vectors import SharedTexts, copy_known, written_order
from .parallel_embedder import Grid, ParallelEmbedder, run_facts
from .task_rows import CHUNKS, TaskRows, task_rows
from .text_lengths import LENGTHS, in_a_sentence
from .vector_file import VectorFile, stored_dtype

Prompts = Mapping[str, str]  # name -> template


@dataclass(frozen=True)
class VectorPart:
    """One file: a family of prompts, or an ensemble, over one task's texts. made_of: see artifacts.parts."""

    task: str
    family: str
    path: str
    storage: str
    texts: str  # their digest
    made_of: str


def embed_checkpoint(
    out: str,
    *,
    texts: Mapping[str, str],
    families: Mapping[str, Prompts],
    checkpoint: Checkpoint,
    grid: Grid,
    ensembles: Mapping[str, Sequence[str]] | None = None,
    long_texts: Mapping[str, Mapping] | None = None,
    workers: int = 1,
    fuse: bool | None = None,
    code: str = "",
) -> None:
    """Writes one checkpoint's vectors, and at `out` the manifest that lists them.

    texts: task -> its recorded texts; families: family -> its prompts; ensembles: name -> its prompts. Each file, at
    {task}/{family}.safetensors beside the manifest, has the keys "prompt/pooling/layer", [texts, dim], rows in the
    order of the texts. A file that still depends on the same is kept, a text that several tasks share is embedded
    once, and a killed job resumes at the first missing chunk. workers: GPUs to share the texts between. fuse: whether
    the layers are compiled; None: on a GPU, where all missing files together are worth it.

    long_texts: task -> `how` (`mean` or `max-sim`) and `overlap`, of tasks whose long texts are embedded in chunks,
    which {task}/chunks.parquet lists. With `max-sim` a file has a row for each chunk.
    """
    started = time.time()
    texts_by_task = {task: texts_of(path) for task, path in texts.items()}
    inputs = {task: [path, *checkpoint.files] for task, path in texts.items()}
    with ParallelEmbedder(checkpoint, grid, workers, fuse) as parallel:
        known, tables, split = rows_of_tasks(out, texts_by_task, long_texts or {}, parallel, inputs, code)
        parts = planned(out, known, families, parallel, code)
        shared = {kind: _shared(known, parts, kind) for kind in {part.storage for part in parts}}
        missing = [
            part
            for part in parts
            if not is_kept(part.path, part.made_of) and not fetch_part(part.path, part.made_of, inputs[part.task], out)
        ]
        parallel.decide_fusing([(known[part.task].embedded, families[part.family]) for part in missing])
        done = {(part.task, part.family) for part in parts} - {(part.task, part.family) for part in missing}
        total = sum(len(known[part.task].embedded) for part in missing)
        with tqdm(total=total, desc="embed", unit="text", mininterval=2, disable=not total) as bar:
            for part in missing:
                held = {task for task, family in done if family == part.family}
                sources = shared[part.storage].sources(part.task, held)
                write_part(
                    part, known[part.task], families[part.family], sources, parallel, inputs[part.task], out, bar
                )
                done.add((part.task, part.family))
    together, made = add_ensembles(out, ensembles or {}, families, parts, grid, code)
    computed = [part.path for part in missing] + made + split
    paths = [part.path for part in (*parts, *together)] + tables
    spec = {**checkpoint.weights, **vars(grid)}
    read = [*texts.values(), *checkpoint.files]
    lengths = recorded_lengths(parts)
    write_manifest(out, paths, computed=computed, inputs=read, spec=spec, started=started, **{LENGTHS: lengths})
    for task, facts in lengths.items():
        if facts["long"]:
            print(in_a_sentence(f"Note: task {task}", facts), flush=True)


def rows_of_tasks(
    out: str,
    texts: Mapping[str, Sequence[str]],
    long_texts: Mapping[str, Mapping],
    parallel: ParallelEmbedder,
    inputs: Mapping[str, Sequence[str]],
    code: str,
) -> tuple[dict[str, TaskRows], list[str], list[str]]:
    """Task -> its rows; the tables of chunks; those of them that were not there yet."""
    checkpoint, grid = parallel.checkpoint, parallel.grid
    found, tables, made = {}, [], []
    for task, own in texts.items():
        spec, path = long_texts.get(task), str(Path(out).parent / task / CHUNKS)
        made_of = digest_of_part(
            model=content_identity(checkpoint.model, checkpoint.revision), texts=texts_digest(own), **(spec or {}),
            most=grid.max_text_tokens, normalisation=grid.text_normalisation, code=code,
        ) if spec else ""  # fmt: skip
        about = {"inputs": inputs[task], "manifest": out}
        found[task], fresh = task_rows(own, spec, path, made_of, lambda: parallel.embedder.composer, **about)
        if found[task].facts:
            tables.append(path)
            made += [path] * fresh
    return found, tables, made


def recorded_lengths(parts: Sequence[VectorPart]) -> dict[str, dict]:
    """Task -> how long its texts are and what is read of them, as the sidecars of its files say."""
    recorded = {part.task: read_sealed(sidecar_path(part.path)) or {} for part in reversed(parts)}
    return {task: recorded[task][LENGTHS] for task in sorted(recorded)}


def texts_of(path: str) -> list[str]:
    """A task's recorded texts. Raises PromptpoolError if there is none."""
    known = pd.read_parquet(path, columns=["text"])["text"].tolist()
    if not known:
        raise PromptpoolError(f"{path}: no texts; check the task that recorded them")
    return known


def planned(
    out: str, known: Mapping[str, TaskRows], families: Mapping[str, Prompts], parallel: ParallelEmbedder, code: str
) -> list[VectorPart]:
    """The files of families, each with a digest of all that changes its vectors; paths do not."""
    checkpoint, grid = parallel.checkpoint, parallel.grid
    common = {
        "model": content_identity(checkpoint.model, checkpoint.revision),
        "adapter": file_digest(checkpoint.adapter) if checkpoint.adapter else None,
        "precision": repr(inference_precision(checkpoint.dtype, parallel.place)),
        "grid": {**vars(grid), "poolings": list(grid.poolings), "layers": list(grid.layers)},
        "code": code,
        **({} if checkpoint.causal else {"causal": False}),
    }
    parts = []
    for task, rows in known.items():
        kind, digest = stored_dtype(grid.storage, len(rows.keys)), texts_digest(rows.texts)
        chunks = {"chunks": [rows.facts["how"], rows.facts["overlap"]]} if rows.facts else {}
        for family, prompts in families.items():
            path = str(Path(out).parent / task / f"{family}.safetensors")
            made_of = digest_of_part(**common, prompts=dict(prompts), texts=digest, storage=kind, **chunks)
            parts.append(VectorPart(task, family, path, kind, digest, made_of))
    return sorted(parts, key=lambda part: part.family)  # a family's prefix is computed once, for all its tasks


def _shared(known: Mapping[str, TaskRows], parts: Sequence[VectorPart], kind: str) -> SharedTexts:
    """The texts that tasks stored in the same type share: a copy between types would be rounded."""
    return SharedTexts({part.task: known[part.task].keys for part in parts if part.storage == kind})


def write_part(
    part: VectorPart,
    rows: TaskRows,
    prompts: Prompts,
    sources: Mapping[str, tuple[np.ndarray, np.ndarray]],
    parallel: ParallelEmbedder,
    inputs: Sequence[str],
    manifest: str,
    bar: tqdm,
) -> None:
    """Writes one file and its sidecar, which keeps each rendered template, the token ids of the first text and the
    number of each layer, so that the prompt and the layer behind a score are known.

    sources: where other tasks' files hold texts of this one (SharedTexts.sources).
    """
    started, grid, embedder = time.time(), parallel.grid, parallel.embedder
    count = len(rows.keys)
    order = written_order(count, sources)
    fresh = list(range(count)) if order is None else order[: count - _count(sources)].tolist()
    dims = embedder.dims(grid.poolings)
    keys = {
        (name, pooling, layer): dims[pooling] for name in prompts for pooling in grid.poolings for layer in grid.layers
    }
    made_of = text_digest(part.made_of + ("" if order is None else repr(order.tolist())))[:16]
    file = VectorFile(part.path, f"{part.path}.scratch", made_of, keys, count, part.storage, order)
    again, before = file.rows_finished(), bar.n
    bar.update(min(again, len(fresh)))

    def progress(done: int, speed: float) -> None:
        bar.set_postfix_str(f"{speed:,.0f} tokens/s", refresh=False)
        bar.update(max(0, before + done - bar.n))

    size, tokens = embedder.chunk_size(prompts, grid.poolings, grid.layers), 0
    if fresh and rows.pieces is None:
        tokens = parallel.write(file, [rows.keys[row] for row in fresh], prompts, progress)
    elif fresh:
        pieces, counts = [rows.pieces[row] for row in fresh], [rows.tokens[row] for row in fresh]
        tokens = write_means(file, pieces, counts, prompts, parallel, size, progress)
    folder = Path(part.path).parents[1]
    paths = {task: str(folder / task / Path(part.path).name) for task in sources}
    copied = copy_known(file, len(fresh), sources, paths, size)
    file.finish()
    drop_pieces(file)
    bar.update(before + len(rows.embedded) - bar.n)
    seconds = max(time.time() - started, 1e-9)
    write_sidecar(
        part.path,
        inputs=inputs,
        spec={**parallel.checkpoint.weights, "prompts": dict(prompts), **vars(grid), "storage": part.storage},
        started=started,
        made_of=part.made_of,
        texts_digest=part.texts,
        manifest=manifest,
        workers=parallel.workers,
        texts=len(rows.texts),
        texts_resumed=again,
        texts_copied=copied,
        tokens=tokens,
        texts_per_second=round((count - again) / seconds, 1),
        tokens_per_second=round(tokens / seconds, 1),
        prompts={name: example(embedder, name, template, rows.embedded[0]) for name, template in prompts.items()},
        **{LENGTHS: rows.facts or embedder.composer.facts(rows.texts)},
        **run_facts(embedder, grid),
    )
    store_part(part.path, part.made_of)


def _count(sources: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> int:
    return sum(len(here) for here, _ in sources.values())


def add_ensembles(
    out: str,
    ensembles: Mapping[str, Sequence[str]],
    families: Mapping[str, Prompts],
    parts: Sequence[VectorPart],
    grid: Grid,
    code: str,
) -> tuple[list[VectorPart], list[str]]:
    """Writes the ensembles' files. Returns them all, and the paths of those that were not there yet."""
    by_place = {(part.task, part.family): part for part in parts}
    together, made = [], []
    for name, prompts in ensembles.items():
        for task in dict.fromkeys(part.task for part in parts):
            members = [by_place[task, family] for family in families_of(prompts, families)]
            made_of = digest_of_part(
                members=[part.made_of for part in members], prompts=list(prompts), name=name, code=code
            )
            path = str(Path(out).parent / task / f"ensemble-{name}.safetensors")
            part = VectorPart(task, f"ensemble-{name}", path, members[0].storage, members[0].texts, made_of)
            together.append(part)
            if not is_kept(path, made_of):
                files = [member.path for member in members]
                embed_ensemble(path, name=name, prompts=prompts, files=files, storage=grid.storage,
                               made_of=made_of, texts_digest=part.texts, manifest=out,
                               **{LENGTHS: recorded_lengths(members)[task]})  # fmt: skip
                made.append(path)
    return together, made


def example(embedder: Embedder, name: str, template: str, text: str) -> dict:
    """A prompt as the model reads it."""
    parsed = Template.parse(name, template)
    joint = embedder.joint
    ids = embedder.composer.joint(parsed, [text])[0] if joint else list(embedder.composer.compose(parsed, text).ids)
    return {"template": template, "ids": ids}
