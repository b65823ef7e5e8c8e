"""The stage that serves an export by other engines: does each give the vectors that were scored, and how fast?"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..artifacts.files import write_json, write_sidecar
from ..errors import PromptpoolError
from ..generation.server_client import PassingError
from ..models.precision import processor
from ..scoring.served_vectors import ServedModel, read_vectors_of
from .check_parity import PARITY
from .running_engine import running
from .served_parity import Inputs, Reference, of_a_long_text, served_parity
from .serving_engines import ServingEngine, engines
from .serving_notes import TEXTS_A_REQUEST, Report, write_serving_notes


def check_serving(
    exported: str, out: str, notes: str, *, kinds: Sequence[str], python: str | None = None, least: float = PARITY
) -> None:
    """Starts each engine, and compares its vectors of 100 texts with sentence-transformers' in float32.

    kinds: of serving_engines.ENGINES; python: the interpreter that has vLLM, as `backends.vllm.python`; least: the
    cosine that each text needs. Writes {"texts", "least", "servers": [...]}: a row for each engine, as Report.facts
    gives it, or {"name", "passed": false, "fault"} of one that could not serve the export, which is a result too. And
    the notes, a page for people. Raises PromptpoolError for an engine that this machine lacks.
    """
    started = time.time()
    folder = Path(exported)
    reference = Reference(folder)
    found, without = engines(folder, reference.variant["pooling"], kinds=kinds, python=python)
    if without:
        raise PromptpoolError(f"exports.{folder.name}.serve: {without[0]}, or take it out")
    reports: list[Report] = []
    rows = []
    for engine in found:
        print(f"{engine.name}: starting", flush=True)
        try:
            with running(engine, beside=Path(out)) as url:
                report = report_of(reference, url, engine=engine, least=least)
        except PromptpoolError as fault:
            print(fault, flush=True)
            rows.append({"name": engine.name, "passed": False, "fault": str(fault)})
            continue
        print(report, flush=True)
        reports.append(report)
        rows.append(report.facts())
    texts = len(reference.texts())
    write_serving_notes(Path(notes), folder, texts, reports)
    write_json(out, {"texts": texts, "least": least, "servers": rows})
    for path in (out, notes):
        write_sidecar(path, inputs=[exported], spec={"serve": list(kinds)}, started=started, device="server")


def report_of(
    reference: Reference,
    url: str,
    *,
    engine: ServingEngine | None = None,
    model: str | None = None,
    key_variable: str | None = None,
    least: float = PARITY,
) -> Report:
    """Asks one server for the vectors of the reference's texts. Raises PromptpoolError if it gives none.

    engine: which was started here; None for a server elsewhere. model: its name for the export, None for the first
    that it lists.
    """
    spec = {"model": model or "", "prompt": "{text}", "dimensions": None, "max_characters": None}
    how = {"url": url, "key_variable": key_variable, "timeout": 120, "retries": 3, "concurrency": 1}
    served = ServedModel(spec, {**how, "batch_size": TEXTS_A_REQUEST}, "serve-check")
    try:
        if not model:
            if not served.names:
                raise PromptpoolError(f"serve-check: {url} does not say what it serves; give the name with --model")
            served.spec = {**spec, "model": served.names[0]}

        def embed(inputs: Inputs) -> np.ndarray:
            return served.vectors(inputs)[0] if isinstance(inputs[0], str) else vectors_of_ids(served, inputs)

        ways, wrong = served_parity(reference, embed, least)
        long = of_a_long_text(reference, embed, least) if ways[0].passed else ""
    finally:
        served.close()
    return Report(
        name=engine.name if engine else url,
        version=engine.version(url) if engine else None,
        command=engine.shown if engine else None,
        dtype=engine.dtype if engine else None,
        machine=machine() if engine else None,
        ways=ways,
        wrong=wrong,
        normalize=reference.variant["normalize"],
        truncate_dim=reference.variant.get("truncate_dim"),
        template=reference.template,
        long=long,
    )


def vectors_of_ids(served: ServedModel, inputs: Sequence[list[int]]) -> np.ndarray:
    """float32 [n, dim], of the token ids of each text. Raises PromptpoolError if the server takes none, at once."""
    rows = []
    for start in range(0, len(inputs), TEXTS_A_REQUEST):
        part = inputs[start : start + TEXTS_A_REQUEST]
        body = {"model": served.spec["model"], "input": part, "encoding_format": "float"}
        try:
            answer = served.server.once("embeddings", body)
            rows.append(read_vectors_of(answer.json(), len(part)))
        except (PassingError, PromptpoolError, ValueError, LookupError, TypeError, AttributeError):
            raise PromptpoolError(f"serve-check: {served.server.url} takes no token ids; send texts") from None
    return np.concatenate(rows)


def machine() -> str:
    """The processor and the cores that a server has here, and the GPU if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = [f"{processor(torch.device('cpu'))}, {cores} cores"]
    if torch.cuda.is_available():
        names.append(processor(torch.device("cuda")))
    return "; ".join(names)
