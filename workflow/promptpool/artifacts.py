"""Writing artifacts: whole or not at all, each with a provenance sidecar."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from .errors import PromptpoolError

RECORDED_PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "mteb", "scikit-learn", "numpy")
ROOM = Path(__file__).parent


def text_digest(text: str) -> str:
    """SHA-256 of a text, hex. Identifies texts, seeds requests, splits corpora.

    A lone surrogate (legal in a Python string, not in UTF-8) keeps its own code instead of failing.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, or of a directory's names and contents in sorted order. Hex."""
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    if not path.is_dir():
        raise PromptpoolError(f"{path}: no such file; run the rule that makes it, or mend the path")
    for child in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(child.relative_to(path).as_posix().encode() + b"\0" + file_digest(child).encode())
    return digest.hexdigest()


def content_identity(path: str, revision: str | None) -> str:
    """What a model's weights are: the digest of a directory, `id@revision` of a hub model."""
    return file_digest(path) if Path(path).is_dir() else f"{path}@{revision}"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path`; renames it into place when the block ends well.

    Works for files and for directories (create the directory yourself). On an error the temporary
    is removed and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            remove(path)
        os.replace(temporary, path)
    finally:
        remove(temporary)


def sweep(folder: str | Path) -> None:
    """Removes what a killed `atomic_path` left half-written in a folder that no other process writes to."""
    for path in Path(folder).glob(".*.tmp*"):
        remove(path)


def remove(path: str | Path) -> None:
    """Removes a file or a tree, if there."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pack(folder: str | Path, archive: str | Path) -> None:
    """Moves a directory into one uncompressed tar file; equal contents give equal files."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with atomic_path(archive) as temporary, tarfile.open(temporary, "w") as handle:
        for child in sorted(Path(folder).iterdir()):
            handle.add(child, child.name, filter=plain)
    remove(folder)


def unpack(archive: str | Path, folder: str | Path) -> None:
    """The directory that `pack` made an archive of."""
    with atomic_path(folder) as temporary, tarfile.open(archive) as handle:
        handle.extractall(temporary, filter="data")


def write_json(path: str | Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def sidecar_path(artifact: str | Path) -> Path:
    """`x.parquet` -> `x.parquet.meta.json`, beside it; the same for a directory."""
    artifact = Path(artifact)
    return artifact.with_name(artifact.name + ".meta.json")


def write_sidecar(
    artifact: str | Path,
    *,
    inputs: Sequence[str | Path] = (),
    spec: Mapping | None = None,
    started: float | None = None,
    **facts: object,
) -> None:
    """Provenance of one artifact: what made it, from what, when, on what.

    `started` is `time.time()` at the start; `facts` are any further JSON values (device, dtype, seed).
    """
    write_json(
        sidecar_path(artifact),
        {
            "artifact": str(artifact),
            "digest": file_digest(artifact),
            "inputs": {str(path): file_digest(path) for path in inputs},
            "spec": dict(spec or {}),
            "packages": package_versions(),
            "python": platform.python_version(),
            "platform": platform.machine(),
            "git_commit": git_commit(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None if started is None else round(time.time() - started, 2),
            **facts,
        },
    )


def package_versions(names: Sequence[str] = RECORDED_PACKAGES) -> dict[str, str | None]:
    """Installed versions by distribution name; None where one is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def git_commit() -> str | None:
    """The commit of the workflow's checkout, None outside git."""
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOM, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
