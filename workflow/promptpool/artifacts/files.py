"""Writing artifacts: whole or not at all, each with a provenance sidecar."""

import contextlib
import errno
import glob
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
from pathlib import Path, PurePosixPath

from ..errors import PromptpoolError

RECORDED_PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "mteb", "scikit-learn", "numpy")
ROOM = Path(__file__).parent
RUN = "PROMPTPOOL_RUN"  # the environment variable that names the run of Snakemake (runs.py)
STAMP = ".snakemake_timestamp"  # Snakemake writes it into a directory when the job is done; it is not content
# These errors stop a write and are the machine's fault, not ours.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}

# `state` of each artifact that this process has verified (integrity.verify) -> digest: a large input is read once.
VERIFIED: dict[tuple, str] = {}


def text_digest(text: str) -> str:
    """SHA-256 of a text, hex. Identifies texts, seeds requests, splits corpora.

    A lone surrogate, which a Python string may hold and UTF-8 may not, keeps its own code instead of failing.
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
        raise PromptpoolError(f"{path}: no such file; run the rule that makes it, or fix the path")
    return _of_files(file_digests(path))


def file_digests(folder: str | Path) -> dict[str, str]:
    """The digest of every file in a directory, by its name below the directory, in the order of the paths."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != STAMP)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def _of_files(digests: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, own in digests.items():
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + own.encode())
    return digest.hexdigest()


def content_digests(artifact: str | Path) -> dict:
    """What a sidecar records of an artifact's content: its `digest`, and for a directory each file's in `contents`."""
    if not Path(artifact).is_dir():
        return {"digest": file_digest(artifact)}
    files = file_digests(artifact)
    return {"digest": _of_files(files), "contents": files}


def state(path: str | Path) -> tuple:
    """A path with what changes when it is written again. A directory counts each of its files."""
    files = [Path(path), *(sorted(Path(path).rglob("*")) if Path(path).is_dir() else [])]
    stats = ((file.name, file.stat()) for file in files if file.name != STAMP and file.exists())
    return (os.path.abspath(path), *((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats))


def content_identity(path: str, revision: str | None) -> str:
    """Identifies a model's weights: the digest of a directory, or `id@revision` of a hub model."""
    return file_digest(path) if Path(path).is_dir() else f"{path}@{revision}"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path`; renames it into place if the block succeeds.

    Works for files and for directories (create the directory yourself). On an error, the temporary is removed and
    `path` stays as it was. Raises PromptpoolError, naming `path`, if the disk refuses the write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        yield temporary
        if temporary.is_dir() and path.exists():
            remove(path)
        os.replace(temporary, path)
    except OSError as error:
        named = path if error.filename is None else Path(os.fsdecode(error.filename))
        ours = named in (path, temporary, *path.parents) or temporary in named.parents
        if error.errno not in UNWRITABLE or not ours:
            raise  # the fault of a file that is read, or our own
        raise PromptpoolError(
            f"{path}: cannot be written: {os.strerror(error.errno)}; fix that and run again"
        ) from error
    finally:
        remove(temporary)


def finished(folder: str | Path, pattern: str) -> list[Path]:
    """What a folder holds by this pattern, in order, without what an `atomic_path` is writing or left half-written."""
    return sorted(path for path in Path(folder).glob(pattern) if not path.name.startswith("."))


def sweep(folder: str | Path) -> None:
    """Removes what a killed `atomic_path` left half-written in a folder. No other process may write to it."""
    for path in Path(folder).glob(".*.tmp*"):
        remove(path)


def sweep_for(path: str | Path) -> None:
    """Removes what killed `atomic_path`s of this one path left. No other process may write it."""
    path = Path(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{glob.escape(path.suffix)}"):
        remove(left)


def remove(path: str | Path) -> None:
    """Removes a file or a tree, if it exists."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pack_folder(folder: str | Path, archive: str | Path) -> None:
    """Moves a directory into one uncompressed tar file. Equal contents give equal files."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with atomic_path(archive) as temporary, tarfile.open(temporary, "w") as handle:
        for child in sorted(Path(folder).iterdir()):
            handle.add(child, child.name, filter=plain)
    remove(folder)


def unpack_folder(archive: str | Path, folder: str | Path) -> None:
    """Unpacks an archive that `pack_folder` made. Raises PromptpoolError for one that holds more than files."""
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python before 3.11.4 has no filters
    with atomic_path(folder) as temporary, tarfile.open(archive) as handle:
        for entry in handle:
            place = PurePosixPath(entry.name)
            if place.is_absolute() or ".." in place.parts or not (entry.isfile() or entry.isdir()):
                raise PromptpoolError(f"{archive}: damaged: it holds {entry.name}; remove it, to make it again")
        handle.extractall(temporary, **safe)


def write_json(path: str | Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def write_sealed(path: str | Path, content: Mapping) -> None:
    """Writes a JSON that holds the digest of its own content, under `seal`."""
    plain = json.loads(json.dumps(content, default=str))
    write_json(path, {**plain, "seal": seal_of(plain)})


def seal_of(content: Mapping) -> str:
    """The digest of a JSON's content without its `seal`."""
    kept = {key: value for key, value in content.items() if key != "seal"}
    return text_digest(json.dumps(kept, sort_keys=True))


def sidecar_path(artifact: str | Path) -> Path:
    """`x.parquet` -> `x.parquet.meta.json`, beside the file or directory."""
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
    """Writes the provenance of one artifact: what made it, from what, when, on what.

    `started` is `time.time()` at the start; `facts` are any further JSON values (device, dtype, seed).
    """
    write_sealed(
        sidecar_path(artifact),
        {
            "artifact": str(artifact),
            "inputs": {str(path): VERIFIED.get(state(path)) or file_digest(path) for path in inputs},
            "spec": dict(spec or {}),
            "packages": package_versions(),
            "python": platform.python_version(),
            "platform": platform.machine(),
            "git_commit": git_commit(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None if started is None else round(time.time() - started, 2),
            "run": os.environ.get(RUN),
            **facts,
            **content_digests(artifact),  # last, so that no fact of a stage replaces it
        },
    )


def write_table(path: str | Path, table, **provenance: object) -> None:
    """Writes a DataFrame as parquet, without its index. Its sidecar also records the number of rows.

    provenance: passed on to write_sidecar.
    """
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)
    write_sidecar(path, **{"rows": len(table), **provenance})


def package_versions(names: Sequence[str] = RECORDED_PACKAGES) -> dict[str, str | None]:
    """Installed versions by distribution name; None if one is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def git_commit() -> str | None:
    """The commit of the package's own checkout; None outside a checkout, or without git.

    An installed package may be inside another repository, as `.venv` is, but that one does not contain this file.
    """
    command = ["git", "rev-parse", "HEAD", f"HEAD:./{Path(__file__).name}"]
    try:
        answer = subprocess.run(command, cwd=ROOM, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.split()[0] if answer.returncode == 0 else None
