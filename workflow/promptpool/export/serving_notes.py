"""What a check of a server found: for people, as a table's row, and as a page of notes of the servers that passed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..artifacts.files import atomic_path
from .gguf_files import GGUF
from .model_card import code, fenced
from .served_parity import Served

SENT = {"texts": "plain texts", "template": "the prompt's template with each text",
        "ids": "the ids that the export's own tokenizer makes"}  # fmt: skip
TEXTS_A_REQUEST = 16  # texts of a request; one request runs at a time


@dataclass(frozen=True)
class Report:
    """One server's results. name: of the engine, or the address; wrong: what a server does that does not get plain
    texts right, if known; long: what it does with a text beyond the limit; machine: where it ran.
    """

    name: str
    version: str | None
    command: str | None
    dtype: str | None
    machine: str | None
    ways: Sequence[Served]
    wrong: str
    normalize: bool
    truncate_dim: int | None
    template: str
    long: str

    @property
    def passed(self) -> bool:
        return self.ways[-1].passed

    def facts(self) -> dict:
        """The whole as JSON types. Texts are cut to 200 characters."""
        ways = [
            {
                "sent": way.how,
                "in_words": SENT[way.how],
                "lowest_cosine": way.worst[1],
                "texts_that_differ": way.differing,
                "first_that_differs": way.first and {"text": way.first[0][:200], "cosine": way.first[1]},
                "texts_per_second": way.rate,
            }
            for way in self.ways
        ]
        return {**asdict(self), "ways": ways, "passed": self.passed, "batch_size": TEXTS_A_REQUEST}

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        lines = [f"{self.name}{version}: {'passed' if self.passed else 'FAILED'}"]
        for way in self.ways:
            text, cosine = way.worst
            lines.append(f"  sent {SENT[way.how]}: lowest cosine {cosine:.6f}, of {text[:60]!r}")
            if way.first:
                text, cosine = way.first
                lines.append(
                    f"    {way.differing} texts differ; the first text that differs: {text[:60]!r}, cosine {cosine:.6f}"
                )
        if self.wrong:
            lines.append(f"  This server does not run the tokenizer's post-processor: {self.wrong}")
        if self.passed and (how := self._how()):
            lines.append(f"  {how}")
        if self.long:
            lines.append(f"  A text beyond the export's limit is {self.long}")
        if not self.passed:
            lines.append("  Do not serve it like this: its vectors are not those that were scored")
        return "\n".join([*lines, *(f"  {line}" for line in self.remarks())])

    def remarks(self) -> list[str]:
        """What to do with the vectors of a server that passed."""
        lines = [self._speed()] if self.passed and self.ways[-1].rate else []
        if self.passed and self.truncate_dim:
            lines.append(f"Keep the first {self.truncate_dim} dimensions of each vector, as the export does")
        if self.passed and abs(self.ways[-1].longer - 1) > 1e-3:
            remedy = "normalise them" if self.normalize else "their cosine similarities are the same"
            lines.append(f"Its vectors have another length ({self.ways[-1].longer:.4f} times): {remedy}")
        return lines

    def _speed(self) -> str:
        where = f" on {self.machine}" if self.machine else ""
        how = f"{TEXTS_A_REQUEST} texts a request, one at a time"
        return f"{self.ways[-1].rate:.0f} texts a second{where}, once warm, {how}"

    def _how(self) -> str:
        """What must be sent, if not plain texts."""
        if self.ways[-1].how == "template":
            return f"It cannot carry the prompt itself. Send it with each text: {self.template!r}"
        if self.ways[-1].how == "ids":
            return (
                "It does not make the export's tokens of a text. Send ids: AutoTokenizer.from_pretrained(EXPORT)"
                "(texts)['input_ids']"
            )
        return ""


def write_serving_notes(path: Path, folder: Path, texts: int, reports: Sequence[Report | Mapping]) -> Path:
    """Writes the notes of an export's servers that passed. folder: the export, whose own files stay as they are."""
    parts = [
        f"# How to serve {folder.resolve().name}",
        f"`promptpool serve-check` compared {texts} texts with sentence-transformers in float32.",
    ]
    passed = [report for report in reports if report.passed]
    if not passed:
        parts.append("No server gave the export's vectors. Use sentence-transformers.")
    for report in passed:
        way = report.ways[-1]
        lines = [f"## {report.name}{f' {report.version}' if report.version else ''}"]
        if report.command:
            lines.append(fenced(_commands(report.command, folder), "sh"))
        number = f", in {report.dtype}" if report.dtype else ""
        lines.append(f"Lowest cosine {way.worst[1]:.6f}{number}.")
        if way.how == "template":
            lines.append(f"It cannot carry the prompt. Send it with each text: {code(report.template)}")
        elif way.how == "ids":
            lines.append("Send the token ids that the export's own tokenizer makes. Plain texts give other vectors.")
            lines.append(
                fenced(
                    "from transformers import AutoTokenizer\n\n"
                    'inputs = AutoTokenizer.from_pretrained("EXPORT")(texts)["input_ids"]  # the `input` of a request',
                    "python",
                )
            )
        else:
            lines.append("Send plain texts. The tokenizer adds the prompt.")
        if report.long:
            lines.append(f"A text beyond the export's limit is {report.long}.")
        lines += [f"{line}." for line in report.remarks()]
        parts.append("\n\n".join(lines))
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _commands(command: str, folder: Path) -> str:
    """What a user types: without this machine's directories, and the conversion first if there is one."""
    shown = command
    for path, name in ((str(folder.resolve()), "EXPORT"), (str(folder), "EXPORT"), (os.path.expanduser("~"), "~")):
        shown = shown.replace(path, name)
    if GGUF in shown.split():
        shown = f"promptpool serve-check EXPORT --gguf {GGUF}    # converts it, if that was not done yet\n{shown}"
    return shown
