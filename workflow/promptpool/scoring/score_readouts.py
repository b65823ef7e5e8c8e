"""The scores of one checkpoint's readouts: post-processed poolings and aggregations, from stored vectors."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import sidecar_path
from ..artifacts.integrity import read_sealed
from ..artifacts.parts import listed_files, write_manifest
from ..embedding.aggregation import Aggregation
from ..embedding.lexical import WithLexical, read_lexical
from ..embedding.post_processing import read_statistics
from ..embedding.vector_file import read_vectors
from ..variants import split_adapter_id
from .choose_fitting_texts import require_unlabelled
from .score_parts import ScorePart, part_of, score_parts
from .scored_task import ScoredTask, chunk_table_of, made_of_chunks


@dataclass(frozen=True)
class ReadoutScores:
    """One readout of one file of vectors, under every prompt. readout: a mapping as `Aggregation.of` reads it.

    statistics: of the same family and checkpoint; fitted_on: the texts that these are of; lexical: name -> file of the
    lexical parts that the readout has; chunks: see FamilyScores.
    """

    vectors: str
    statistics: str
    fitted_on: str
    model: str
    adapter: str
    readout: Mapping
    lexical: Mapping[str, str] = field(default_factory=dict)
    chunks: str | None = None

    @property
    def files(self) -> Sequence[str]:
        return [self.vectors, self.statistics, *self.lexical.values(), *filter(None, [self.chunks])]

    def made_of(self) -> dict:
        read = (self.vectors, self.statistics, *self.lexical.values())
        vectors, statistics, *lexical = ((read_sealed(sidecar_path(file)) or {})["digest"] for file in read)
        return {"vectors": vectors, "statistics": statistics, "model": self.model, "adapter": self.adapter,
                "readout": dict(self.readout), **({"lexical": lexical} if lexical else {}),
                **made_of_chunks(self.chunks)}  # fmt: skip

    def scores(self, scorer) -> tuple[pd.DataFrame, list[str]]:
        from .scorer import require_same_texts

        require_same_texts(self.vectors, list(scorer.rows), scorer.texts)
        require_unlabelled(pd.read_parquet(self.fitted_on)["text"], list(scorer.rows), scorer.task)
        name, step = split_adapter_id(self.adapter)
        stored, known = read_vectors(self.vectors), read_statistics(self.statistics)
        lexical = {name: read_lexical(path) for name, path in self.lexical.items()}
        if lexical:
            rows = pd.read_parquet(self.chunks)["chunk"].tolist() if self.chunks else list(scorer.rows)
            stored = WithLexical(stored, {name: part.vectors(rows) for name, part in lexical.items()})
            known = WithLexical(known, {name: part.statistics for name, part in lexical.items()})
        readout, prompts = Aggregation.of(self.readout), sorted({prompt for prompt, _, _ in stored})

        def variants() -> Iterator[tuple[Mapping, str, np.ndarray]]:
            for prompt in prompts:
                columns = {"prompt": prompt, "pooling": readout.name, "layer": readout.layer}
                matrix = readout.read(prompt, stored, known)
                yield {"model": self.model, "adapter": name, "step": step, **columns}, self.adapter, matrix

        return scorer.score(variants(), len(prompts), self.chunks)


def score_readouts(
    out: str,
    tasks: Sequence[ScoredTask],
    *,
    vectors: str,
    statistics: str,
    fitted_on: str,
    model: str,
    adapter: str,
    readouts: Sequence[Mapping],
    lexical: Mapping[str, str] | None = None,
    max_sim: Sequence[str] = (),
    workers: int = 1,
    code: str = "",
) -> None:
    """Writes the readouts' scores, a table for each task, family and readout beside `out`, MTEB's results beside each,
    and at `out` the manifest that lists them.

    vectors, statistics: the manifests of the tasks' vectors and of the statistics; fitted_on: the fitting texts;
    lexical: name -> file of all lexical parts; max_sim: see score_checkpoint. Scores that still depend on the same are
    kept; `workers` processes score the rest.
    """
    started = time.time()
    fitted = {Path(file).stem: file for file in listed_files([statistics], ".safetensors")}
    parts: list[ScorePart] = []
    for task in tasks:
        chunks = chunk_table_of(vectors, task.name, max_sim)
        for file in listed_files([vectors], ".safetensors", [task.name]):
            family = Path(file).stem
            for readout in readouts:
                counted = lexical_of(readout, lexical or {})
                scored = ReadoutScores(file, fitted[family], fitted_on, model, adapter, readout, counted, chunks)
                path = str(Path(out).parent / task.name / f"{family}.{file_name(readout)}.parquet")
                parts.append(part_of(path, task, scored, out, code))
    computed = score_parts(parts, workers)
    inputs = [vectors, statistics, *(path for task in tasks for path in (task.labelled, task.texts))]
    files = [file for part in parts for file in part.files]
    spec = {"model": model, "adapter": adapter, "readouts": list(readouts)}
    write_manifest(out, files, computed=computed, inputs=inputs, spec=spec, started=started)


def lexical_of(readout: Mapping, lexical: Mapping[str, str]) -> dict[str, str]:
    """The lexical parts that a readout has, of all of them."""
    return {part["pooling"]: lexical[part["pooling"]] for part in readout["parts"] if part["pooling"] in lexical}


def file_name(readout: Mapping) -> str:
    """A readout's name and layer as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", f"{readout['name']}.{readout['layer']:g}")
