"""Parts: the many files of one job, each kept as long as nothing that it depends on has changed.

The jobs that embed and score a checkpoint declare one output, a manifest, which lists their parts with their digests.
Snakemake removes declared outputs before a job starts. The parts are not declared, so a job finds those of an earlier
run, keeps the valid ones and makes only the others. A part's sidecar records a digest of what it depends on, `made_of`.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import PromptpoolError
from .files import (
    VERIFIED,
    atomic_path,
    remove,
    sidecar_path,
    state,
    text_digest,
    write_json,
    write_sealed,
    write_sidecar,
)
from .integrity import fault_of, read_sealed, sealed

CACHE = "SNAKEMAKE_OUTPUT_CACHE"  # the environment variable that names the cache between checkouts


def digest_of_part(**made_of: object) -> str:
    """Identifies a part by everything that changes its content. Values are of JSON; paths are best left out."""
    return text_digest(json.dumps(made_of, sort_keys=True))


def texts_digest(texts: Iterable[str]) -> str:
    """Identifies texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0\0")
    return digest.hexdigest()


def is_kept(path: str | Path, made_of: str) -> bool:
    """Whether a part is whole and depends on the same as now."""
    try:
        recorded = read_sealed(sidecar_path(path)) or {}
    except FileNotFoundError:
        return False
    return recorded.get("made_of") == made_of and fault_of(path) is None


def fetch_part(path: str | Path, made_of: str, inputs: Sequence[str | Path], manifest: str | Path) -> bool:
    """Takes a part from the cache between checkouts; False if there is no cache, or no whole part in it."""
    stored = _in_cache(path, made_of)
    if stored is None or not sealed(stored):
        return False
    with atomic_path(path) as temporary:
        _link(stored, temporary)
    facts = read_sealed(sidecar_path(stored)) or {}
    digest = facts["digest"]
    own = {name: value for name, value in facts.items() if name not in ("artifact", "inputs", "manifest", "seal")}
    write_sidecar(path, inputs=inputs, spec=own.pop("spec", None), **{**own, "manifest": str(manifest), "cached": True})
    if not is_kept(path, made_of) or (read_sealed(sidecar_path(path)) or {})["digest"] != digest:
        remove(path)
        return False
    return True


def store_part(path: str | Path, made_of: str) -> None:
    """Puts a part and its sidecar into the cache between checkouts, if there is one. A full cache loses no result."""
    stored = _in_cache(path, made_of)
    if stored is None or sealed(stored):
        return
    with contextlib.suppress(OSError, PromptpoolError):
        with atomic_path(stored) as temporary:
            _link(Path(path), temporary)
        write_sealed(sidecar_path(stored), read_sealed(sidecar_path(path)) or {})


def _in_cache(path: str | Path, made_of: str) -> Path | None:
    folder = os.environ.get(CACHE)
    return Path(folder) / f"part-{made_of}{Path(path).suffix}" if folder and Path(folder).is_dir() else None


def _link(source: Path, target: Path) -> None:
    """One file under two names where the file system can, because nobody changes a part in place; a copy elsewhere."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# --- manifests ---------------------------------------------------------------------------------------


def write_manifest(
    out: str | Path, files: Sequence[str | Path], *, computed: Sequence[str], **provenance: object
) -> None:
    """Writes the list of a job's files with their digests: `folder`, and `files`: path below it -> digest.

    computed: those that this job made; the manifest's sidecar lists them, and the others as `kept`, so that the
    manifest itself is the same however its files came about. provenance: passed on to write_sidecar.
    """
    folder = Path(out).parent
    names = {Path(path).relative_to(folder).as_posix(): path for path in files}
    digests = {name: (read_sealed(sidecar_path(path)) or {})["digest"] for name, path in sorted(names.items())}
    write_json(out, {"folder": str(folder), "files": digests})
    made = sorted(Path(path).relative_to(folder).as_posix() for path in computed)
    write_sidecar(out, **{**provenance, "computed": made, "kept": sorted(set(digests) - set(made))})


def read_manifest(manifest: str | Path) -> dict[str, str]:
    """Path below the manifest's folder -> digest, of every file that a job made."""
    try:
        content = json.loads(Path(manifest).read_text(encoding="utf-8"))
        return dict(content["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise PromptpoolError(f"{manifest}: damaged: not a list of files; remove it and run again") from error


def listed_file(manifest: str | Path, name: str) -> str:
    """The path of one file of a manifest, verified to be what the manifest lists."""
    digest = read_manifest(manifest).get(name)
    if digest is None:
        raise PromptpoolError(f"{manifest}: lists no {name}; remove it and run again")
    return _verified(manifest, name, digest)


def listed_files(manifests: Sequence[str | Path], end: str, tasks: Sequence[str] | None = None) -> Iterator[str]:
    """The verified paths of all files with this ending; tasks: only those of these tasks, the first part of a name."""
    for manifest in manifests:
        for name, digest in read_manifest(manifest).items():
            task = name.partition("/")[0].removesuffix(end)
            if name.endswith(end) and (tasks is None or task in tasks):
                yield _verified(manifest, name, digest)


def _verified(manifest: str | Path, name: str, digest: str) -> str:
    path = Path(manifest).parent / name
    try:
        fault = fault_of(path)
    except FileNotFoundError:
        fault = f"{path}: has no sidecar; remove {path} and {manifest}, and run again"
    if not fault and VERIFIED[state(path)] != digest:
        fault = f"{path}: is not the file that {manifest} lists; remove {manifest} and run again"
    if fault:
        raise PromptpoolError(fault)
    return str(path)
