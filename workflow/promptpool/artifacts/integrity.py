"""Whether an artifact is what its stage wrote: its content against the digest in its sidecar.

Every job verifies what it reads before it reads it, and seals what it wrote (runtime/job.py). A large file is
streamed once. `python -m promptpool.runtime.rebuild results/<run>` looks at all of them, and has only the
damaged ones made again.
"""

import json
import os
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import PromptpoolError
from .files import VERIFIED, file_digest, remove, seal_of, sidecar_path, state, sweep_for, unpack_folder, write_sidecar


def fault_of(artifact: str | Path, manifest: str | Path | None = None) -> str | None:
    """What is wrong with an artifact, in one line that names the file at fault; None where it is whole.

    manifest: the file that says what was written; its sidecar where None. Raises FileNotFoundError where there is none:
    then nothing can be said.
    """
    artifact = Path(artifact)
    manifest = Path(manifest or sidecar_path(artifact))
    anew = f"remove {artifact} and run again (make mend does both)"
    try:
        if not artifact.exists():
            return f"{artifact}: no such file; run the same command again"
        told = read_sealed(manifest)
        if told is None:
            return f"{manifest}: damaged, so that {artifact} can't be verified; {anew}"
        for name, digest in told.get("contents", {"": told["digest"]}).items():
            path = artifact / name
            if not path.exists():
                return f"{path}: missing, and {manifest} names it; {anew}"
            if file_digest(path) != digest:
                return f"{path}: damaged: its content is not what was written; {anew}"
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return f"{error.filename or artifact}: cannot be read: {reason}; mend that, or {anew}"
    VERIFIED[state(artifact)] = told["digest"]
    return None


def read_sealed(path: str | Path) -> dict | None:
    """A sidecar, or another file of `files.write_sealed`; None where it is damaged. FileNotFoundError for none."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        whole = (
            isinstance(told["digest"], str)
            and isinstance(told.get("contents", {}), dict)
            and told["seal"] == seal_of(told)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return told if whole else None


def verify(artifacts: Iterable[str | Path]) -> None:
    """Raises PromptpoolError for the first artifact that is damaged, missing or unreadable.

    One without a sidecar (from Snakemake's between-workflow cache) can't be verified: it is taken as it is, a line says
    so, and it gets a sidecar, against which it is verified from then on.
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
    """The directory that was packed, verified against its sidecar; the archive has none of its own.

    Raises PromptpoolError for an archive that gives something else, OSError for one that can't be read.
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
    """Gives an artifact that has no sidecar one that says so."""
    print(f"Warning: {artifact}: has no sidecar, so it can't be verified; it is taken as it is", file=sys.stderr)
    write_sidecar(artifact, adopted=True)


def begin(outputs: Iterable[str | Path]) -> None:
    """Before a job: takes away the sidecars of what it will write anew, and what a killed one left half-written."""
    for output in outputs:
        remove(sidecar_path(output))
        sweep_for(output)
        sweep_for(sidecar_path(output))


def seal(outputs: Iterable[str | Path], inputs: Iterable[str | Path], started: float) -> None:
    """After a job: a sidecar for each output that its stage has given none."""
    given = [str(path) for path in inputs]
    for output in outputs:
        if not sidecar_path(output).exists():
            write_sidecar(output, inputs=given, started=started)


def sealed(path: str | Path, manifest: str | Path | None = None) -> bool:
    """Whether a file or a directory is there, and is what its manifest (its sidecar where None) says."""
    try:
        return fault_of(path, manifest) is None
    except FileNotFoundError:
        return False


def require_readable(path: str | Path) -> None:
    """Raises, naming the file, for one that can't be opened, JSON that is none, and safetensors that are cut off.

    Libraries pass over some of these, and of others they don't say which file it was. What a user's file holds has no
    digest to be held against.
    """
    path = Path(path)
    with open(path, "rb") as handle:
        if path.suffix == ".json":
            try:
                json.load(handle)
            except (ValueError, RecursionError) as error:
                raise PromptpoolError(f"{path}: is no JSON ({error}); put the whole file there") from None
        elif path.suffix == ".safetensors":
            size = path.stat().st_size
            try:
                with safe_open(path, framework="numpy"):  # reads the header alone, and compares it with the size
                    pass
            except (SafetensorError, OSError) as error:
                raise PromptpoolError(
                    f"{path}: is not whole ({size} bytes; {error}); put the whole file there"
                ) from None
