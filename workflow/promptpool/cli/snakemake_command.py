"""How snakemake is called for a study, from wherever this package lies, and what of a study that takes."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..errors import PromptpoolError
from ..runtime.installation import workflow_folder


@dataclass(frozen=True)
class StudyFile:
    """A study's file and the name of its run."""

    path: Path
    run: str

    @property
    def results(self) -> Path:
        """Where its results are, relative to the working directory."""
        return Path("results", self.run)


def study_file(path: str) -> StudyFile:
    """The study in a file. Raises PromptpoolError if there is none, or if it names no run."""
    place = Path(path)
    if not place.is_file():
        raise PromptpoolError(
            f"{path}: no such file; write one with `promptpool init FILE`, or name yours with --study"
        )
    try:
        content = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise PromptpoolError(f"{path}: is not valid YAML{where}: {getattr(error, 'problem', error)}; fix it") from None
    run = content.get("run") if isinstance(content, dict) else None
    if not isinstance(run, str) or not run:
        raise PromptpoolError(f"{path}: names no run; start it with `run: <name>`")
    return StudyFile(place, run)


def snakemake_command(study: StudyFile, *arguments: str, targets: Sequence[str] = ()) -> list[str]:
    """The command for a study, with this interpreter and the workflow that belongs to this package."""
    file = ["--snakefile", str(workflow_folder() / "Snakefile"), "--configfile", str(study.path)]
    return [sys.executable, "-m", "snakemake", *file, *arguments, *(["--", *targets] if targets else [])]


def as_typed(command: Sequence[str]) -> str:
    """A command as a user would type it: `snakemake ...` or `python ...`."""
    words = list(command)
    if words[1:3] == ["-m", "snakemake"]:
        words[:3] = ["snakemake"]
    elif words[0] == sys.executable:
        words[0] = "python"
    return shlex.join(words)
