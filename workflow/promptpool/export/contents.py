"""contents.json of an exported model: its files with their digests, and what went into it. And the check against it.

The format is our own, in plain JSON (docs/reference/contents.md): the files of a model are few, and a reader needs no
schema of CycloneDX or SPDX to compare a digest or to find a licence.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..artifacts.files import STAMP, file_digest, seal_of, write_sealed
from ..errors import PromptpoolError

CONTENTS = "contents.json"
SIGNATURE = "model.sig"
FORMAT = 1
# What git, the hub's client and Snakemake put beside a model's files. No library reads a model from these.
BESIDE = (CONTENTS, SIGNATURE, STAMP, ".gitattributes")
FOLDERS_BESIDE = (".git", ".cache")


def write_contents(folder: Path, made_from: Mapping) -> None:
    """Writes contents.json of a whole export, as its last file. made_from: see `materials.materials`."""
    files = {name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for name, path in _files(folder)}
    write_sealed(folder / CONTENTS, {"format": FORMAT, "files": files, **made_from})


def read_contents(folder: Path) -> dict:
    """contents.json of an export. Raises PromptpoolError for a directory without one, and for one that was changed."""
    path = folder / CONTENTS
    if not folder.is_dir():
        raise PromptpoolError(f"{folder}: no such directory; name an exported model, results/<run>/models/<export>")
    if not path.is_file():
        raise PromptpoolError(f"{path}: missing, so nothing here can be verified; export the model again")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = found["seal"] == seal_of(found) and all(
            {"sha256", "bytes"} <= set(one) for one in found["files"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise PromptpoolError(
            f"{path}: damaged: it is not what was written; get the export again from where it was made"
        )
    if found["format"] != FORMAT:
        raise PromptpoolError(f"{path}: has format {found['format']}, not {FORMAT}; use a newer promptpool")
    return found


def faults_of_export(folder: Path) -> list[str]:
    """Every file of an export that is not as it was written, missing or added, a line each; none if it is whole."""
    listed = read_contents(folder)["files"]
    there = dict(_files(folder))
    again = "get the export again from where it was made"
    faults = [
        f"{folder / name}: missing, and {CONTENTS} lists it; {again}" for name in sorted(set(listed) - set(there))
    ]
    for name, path in there.items():
        if name not in listed:
            faults.append(f"{path}: added: {CONTENTS} does not list it; remove it")
        elif fault := _fault_of(path, listed[name]["sha256"]):
            faults.append(f"{path}: {fault}; {again}")
    return faults


def _fault_of(path: Path, digest: str) -> str | None:
    try:
        whole = path.is_file() and file_digest(path) == digest
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno) if error.errno else error}"
    return None if whole else "changed: its content is not what was written"


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a model by its name, sorted. A link to a directory counts as a file: its target can change."""
    found = {}
    for where, folders, names in os.walk(folder):
        here = Path(where)
        linked = [name for name in folders if (here / name).is_symlink()]
        if here == folder:
            folders[:] = [name for name in folders if name not in FOLDERS_BESIDE or name in linked]
            names = [name for name in names if name not in BESIDE]
        found |= {(here / name).relative_to(folder).as_posix(): here / name for name in (*names, *linked)}
    yield from sorted(found.items())
