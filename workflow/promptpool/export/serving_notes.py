"""What a check of a server found, for people; and a page of notes beside an export, of the servers that passed."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..artifacts.files import atomic_path
from ..errors import PromptpoolError
from ..scoring.served_vectors import ServedModel
from .model_card import code, fenced
from .served_parity import Reference, Served, of_a_long_text, served_parity
from .serving_engines import ServingEngine

SENT = {"texts": "plain texts", "template": "the prompt's template with each text"}


@dataclass(frozen=True)
class Report:
    """One server's results. name: of the engine, or the address; wrong: what a failing server does, if known."""

    name: str
    command: str | None
    dtype: str | None
    ways: Sequence[Served]
    wrong: str
    normalize: bool
    template: str
    long: str

    @property
    def passed(self) -> bool:
        return self.ways[-1].passed

    def __str__(self) -> str:
        lines = [f"{self.name}: {'passed' if self.passed else 'FAILED'}"]
        for way in self.ways:
            text, cosine = way.worst
            lines.append(f"  sent {SENT[way.how]}: lowest cosine {cosine:.6f}, of {text[:60]!r}")
            if way.first:
                text, cosine = way.first
                lines.append(f"    the first text that differs: {text[:60]!r}, cosine {cosine:.6f}")
        if self.wrong:
            lines.append(f"  This server does not run the tokenizer's post-processor: {self.wrong}")
        if self.passed and self.ways[-1].how == "template":
            lines.append(f"  It cannot carry the prompt itself. Send it with each text: {self.template!r}")
        if self.long:
            lines.append(f"  A text beyond the export's limit is {self.long}")
        if not self.passed:
            lines.append("  Do not serve it like this: its vectors are not those that were scored")
        if self.passed and self.normalize and abs(self.ways[-1].longer - 1) > 1e-3:
            lines.append(f"  Its vectors have another length ({self.ways[-1].longer:.4f} times): normalise them")
        return "\n".join(lines)


def report_of(reference: Reference, url: str, given: argparse.Namespace, engine: ServingEngine | None = None) -> Report:
    """Asks one server for the vectors of the reference's texts. Raises PromptpoolError if it gives none."""
    spec = {"model": given.model or "", "prompt": "{text}", "dimensions": None, "max_characters": None}
    how = {"url": url, "key_variable": given.key_variable, "timeout": 120, "retries": 3, "concurrency": 1}
    served = ServedModel(spec, {**how, "batch_size": 16}, "serve-check")
    try:
        if not given.model:
            if not served.names:
                raise PromptpoolError(f"serve-check: {url} does not say what it serves; give the name with --model")
            served.spec = {**spec, "model": served.names[0]}

        def embed(texts: Sequence[str]) -> np.ndarray:
            return served.vectors(texts)[0]

        ways, wrong = served_parity(reference, embed, given.least)
        long = of_a_long_text(reference, embed, given.least) if ways[0].passed else ""
    finally:
        served.close()
    return Report(
        name=engine.name if engine else url,
        command=engine.shown if engine else None,
        dtype=engine.dtype if engine else None,
        ways=ways,
        wrong=wrong,
        normalize=reference.variant["normalize"],
        template=reference.template,
        long=long,
    )


def write_notes(folder: Path, reference: Reference, reports: Sequence[Report]) -> Path:
    """Writes `<export>.serving.md` beside the export, whose own files stay as they were listed and signed."""
    folder = folder.resolve()
    path = folder.with_name(f"{folder.name}.serving.md")
    parts = [
        f"# How to serve {folder.name}",
        f"`promptpool serve-check` compared {len(reference.texts())} texts with sentence-transformers in float32.",
    ]
    for report in reports:
        way = report.ways[-1]
        lines = [f"## {report.name}"]
        if report.command:
            lines.append(
                fenced(report.command.replace(str(folder), "EXPORT").replace(os.path.expanduser("~"), "~"), "sh")
            )
        number = f"in {report.dtype}, " if report.dtype else ""
        lines.append(f"Lowest cosine {way.worst[1]:.6f}, {number}{way.rate:.0f} texts a second in this check.")
        if way.how == "template":
            lines.append(f"It cannot carry the prompt. Send it with each text: {code(report.template)}")
        else:
            lines.append("Send plain texts. The tokenizer adds the prompt.")
        if report.long:
            lines.append(f"A text beyond the export's limit is {report.long}.")
        parts.append("\n\n".join(lines))
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path
