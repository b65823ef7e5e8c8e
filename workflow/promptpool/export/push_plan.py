"""What a push would send to the model hub: files, the card's metadata, and what the licences say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import metadata_load

from ..errors import PromptpoolError
from .contents import CONTENTS, SIGNATURE, faults_of_export, read_contents
from .share_licence import Verdict, verdicts

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What the hub reads of a card. Each is shown, and said to be missing where there is none.
SHOWN = ("base_model", "base_model_relation", "datasets", "language", "license", "license_name", "license_link",
         "pipeline_tag", "library_name", "tags")  # fmt: skip
WHERE_GIVEN = ("license_name", "license_link")


@dataclass(frozen=True)
class PushPlan:
    """files: name -> bytes; card: the front matter of its README.md; licences: of all that went in."""

    folder: Path
    repository: str
    files: Mapping[str, int]
    digests: Mapping[str, str]
    card: Mapping
    licences: Sequence[Verdict]

    def __str__(self) -> str:
        width = max(map(len, self.files))
        rows = [f"  {name.ljust(width)}  {size:>14,} bytes" for name, size in self.files.items()]
        return "\n".join([
            f"{self.folder} -> {self.repository}",
            *rows,
            f"  {len(self.files)} files, {sum(self.files.values()) / 1e6:,.1f} MB",
            "The card's metadata",
            *(f"  {key}: {_shown(self.card.get(key))}" for key in SHOWN if key in self.card or key not in WHERE_GIVEN),
            *_results(self.card),
            "Licences",
            *(f"  {verdict}" for verdict in self.licences),
        ])  # fmt: skip


def push_plan(folder: Path, repository: str) -> PushPlan:
    """Raises PromptpoolError for a name that is no repository's, and for an export that is not as it was written."""
    if not REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise PromptpoolError(f"push: {repository!r} names no repository of the hub; write OWNER/NAME")
    faults = faults_of_export(folder)
    if faults:
        raise PromptpoolError(faults[0])
    contents = read_contents(folder)
    beside = [name for name in (CONTENTS, SIGNATURE) if (folder / name).is_file()]
    sizes = {name: one["bytes"] for name, one in contents["files"].items()}
    sizes |= {name: (folder / name).stat().st_size for name in beside}
    digests = {name: one["sha256"] for name, one in contents["files"].items()}
    card = metadata_load(folder / "README.md") or {}
    return PushPlan(folder, repository, sizes, digests, card, verdicts(contents))


def require_licences(plan: PushPlan) -> None:
    """Raises PromptpoolError for the first licence that forbids to share the model, or that is not known."""
    for verdict in plan.licences:
        if verdict.stops:
            reason = "forbids it" if verdict.licence and verdict.says == "forbids" else "is not known to permit it"
            raise PromptpoolError(
                f"push: the licence of {verdict.what} ({verdict.licence or 'none stated'}) {reason}; nothing was sent. "
                "Ask its owner; if you may share the model, give --despite-licence"
            )


def _results(card: Mapping) -> list[str]:
    entries = [result for model in card.get("model-index") or [] for result in model["results"]]
    if not entries:
        return ["  model-index: none: the variant was not scored"]
    lines = [
        f"    {entry['dataset']['name']}, {entry['dataset'].get('split')}: "
        + ", ".join(f"{metric['type']} {metric['value']:.4f}" for metric in entry["metrics"])
        for entry in entries
    ]
    return ["  model-index:", *lines]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "none")
