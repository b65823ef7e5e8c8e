"""Whether an artifact is what its stage wrote: its content against the digest in its sidecar.

Every job verifies its inputs before it reads them, and seals its outputs (runtime/job.py). A large file is read once.
`python -m promptpool.runtime.rebuild results/<run>` verifies all artifacts of a run and rebuilds only the damaged ones.
"""

import json
import os
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from ..errors import PromptpoolError
from .files import VERIFIED, file_digest, remove, seal_of, sidecar_path, state, sweep_for, unpack_folder, write_sidecar


def fault_of(artifact: str | Path, manifest: str | Path | None = None) -> str | None:
    """What is wrong with an artifact, as one line that names the file at fault; None if it is whole.

    manifest: the file that records what was written; by default the artifact's sidecar. Raises FileNotFoundError if
    there is no manifest, because nothing can be verified then.
    """
    artifact = Path(artifact)
    manifest = Path(manifest or sidecar_path(artifact))
    rebuild = f"remove {artifact} and run again (make rebuild does both)"
    try:
        if not artifact.exists():
            return f"{artifact}: no such file; run the same command again"
        recorded = read_sealed(manifest)
        if recorded is None:
            return f"{manifest}: damaged, so {artifact} can't be verified; {rebuild}"
        for name, digest in recorded.get("contents", {"": recorded["digest"]}).items():
            path = artifact / name
            if not path.exists():
                return f"{path}: missing, and {manifest} names it; {rebuild}"
            if file_digest(path) != digest:
                return f"{path}: damaged: its content is not what was written; {rebuild}"
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return f"{error.filename or artifact}: cannot be read: {reason}; fix that, or {rebuild}"
    VERIFIED[state(artifact)] = recorded["digest"]
    return None


def read_sealed(path: str | Path) -> dict | None:
    """Reads a sidecar or another file of `files.write_sealed`; None if damaged. Raises FileNotFoundError if missing."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        whole = (
            isinstance(content["digest"], str)
            and isinstance(content.get("contents", {}), dict)
            and content["seal"] == seal_of(content)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return content if whole else None


def verify(artifacts: Iterable[str | Path]) -> None:
    """Raises PromptpoolError for the first artifact that is damaged, missing or unreadable.

    An artifact without a sidecar (from Snakemake's between-workflow cache) can't be verified. It is accepted with a
    warning and gets a sidecar, so that later jobs can verify it.
    """
    for artifact in artifacts:
        try:
            fault = fault_of(artifact)
        except FileNotFoundError:
            fault = None
            adopt(artifact)
        if fault:
            raise PromptpoolError(fault)


def unpack_sealed(archive: str | Path, folder: str | Path) -> None:
    """Unpacks a directory and verifies it against its own sidecar; the archive has none.

    Raises PromptpoolError if the archive's content is damaged, OSError if the archive can't be read.
    """
    sweep_for(folder)
    try:
        unpack_folder(archive, folder)
    except tarfile.TarError as error:
        fault = str(error)
    else:
        fault = fault_of(folder) if sidecar_path(folder).exists() else adopt(folder)
    if fault:
        remove(folder)
        raise PromptpoolError(f"{archive}: damaged: not what was written; remove {archive} and run again ({fault})")


def adopt(artifact: str | Path) -> None:
    """Gives an artifact without a sidecar one that records that it was adopted."""
    print(f"Warning: {artifact}: has no sidecar, so it can't be verified; it is used unverified", file=sys.stderr)
    write_sidecar(artifact, adopted=True)


def begin(outputs: Iterable[str | Path]) -> None:
    """Before a job: removes the sidecars of its outputs, and what a killed job left half-written."""
    for output in outputs:
        remove(sidecar_path(output))
        sweep_for(output)
        sweep_for(sidecar_path(output))


def seal(outputs: Iterable[str | Path], inputs: Iterable[str | Path], started: float) -> None:
    """After a job: writes a sidecar for each output whose stage wrote none."""
    given = [str(path) for path in inputs]
    for output in outputs:
        if not sidecar_path(output).exists():
            write_sidecar(output, inputs=given, started=started)


def sealed(path: str | Path, manifest: str | Path | None = None) -> bool:
    """Whether a file or directory exists and matches its manifest (by default its sidecar)."""
    try:
        return fault_of(path, manifest) is None
    except FileNotFoundError:
        return False


def require_readable(path: str | Path) -> None:
    """Raises an error that names the file if it can't be opened, is invalid JSON, or is truncated safetensors.

    Libraries ignore some of these faults, and report others without the file's name. A user's own file has no
    recorded digest to compare with.
    """
    path = Path(path)
    with open(path, "rb") as handle:
        if path.suffix == ".json":
            try:
                json.load(handle)
            except (ValueError, RecursionError) as error:
                raise PromptpoolError(f"{path}: is not valid JSON ({error}); put the whole file there") from None
        elif path.suffix == ".safetensors":
            from safetensors import SafetensorError, safe_open  # not for a dry run, which needs nothing but Snakemake

            size = path.stat().st_size
            try:
                with safe_open(path, framework="numpy"):  # reads only the header, and compares it with the size
                    pass
            except (SafetensorError, OSError) as error:
                raise PromptpoolError(
                    f"{path}: is truncated ({size} bytes; {error}); put the whole file there"
                ) from None
