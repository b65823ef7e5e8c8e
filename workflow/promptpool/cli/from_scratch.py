"""What init copies from this package: the shipped model, the demo's study, a sample of texts."""

import shutil
from pathlib import Path

from ..artifacts.files import atomic_path
from ..errors import PromptpoolError
from ..runtime.installation import workflow_folder
from .study_text import SCHEMA_COPY, write_schema

HERE = "resources"  # beside the study, so that it works wherever this package lies
THERE = "workflow/resources"
_MODEL = "nano-docs"
SAMPLE_FILE = "sample.csv"


def from_scratch(name: str, target: Path) -> int:
    """Writes to `target` the demo's study, with its files beside it, or the sample of texts."""
    folder = target.parent
    if name == "sample":
        with atomic_path(target) as temporary:
            shutil.copyfile(workflow_folder() / "resources" / SAMPLE_FILE, temporary)
        print(f"Wrote {target}. Next: promptpool init {target}")
        return 0
    text = (workflow_folder() / "profiles/demo/study.yaml").read_text(encoding="utf-8")
    if THERE not in text:
        raise PromptpoolError("the demo's study names no file of the package; this is a fault of promptpool, report it")
    copy_resource(_MODEL, folder)
    copy_resource("stdlib_topics.yaml", folder)
    write_schema(folder)
    with atomic_path(target) as temporary:
        first = f"# yaml-language-server: $schema={SCHEMA_COPY}\n"
        temporary.write_text(first + text.replace(THERE, HERE), encoding="utf-8")
    print(f"Wrote {target}, the demo's study: about ten minutes on two cores. Next: promptpool run")
    return 0


def copy_model(folder: Path) -> str:
    """Puts the shipped model beside the study; returns its path for the study. 11 MB."""
    return copy_resource(_MODEL, folder)


def copy_resource(name: str, folder: Path) -> str:
    """A file or folder of the package's resources, copied below `folder`. A copy that is there already stays."""
    source, target = workflow_folder() / "resources" / name, folder / HERE / name
    if not target.exists():
        with atomic_path(target) as temporary:
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, temporary)
    return str(target)
