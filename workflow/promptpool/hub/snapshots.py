"""What was downloaded from the model hub, as jobs find it: in the hub's cache, at exactly the pinned commit.

`prefetch` (pin_snapshots, fetch_snapshot) writes a marker for each repository; jobs read it here. Nothing here uses the
network or falls back on another revision.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import PromptpoolError

LOCK = "hub.lock.json"
PIN = ("repo", "repo_type", "asked", "commit", "files")


def marker_path(results: str, snapshot: str) -> str:
    """The path of a snapshot's marker, which records what is held and where (see hub_needs.snapshot_id)."""
    return f"{results}/hub/{snapshot}.json"


def cache_folder() -> Path:
    """The hub's cache, as HF_HUB_CACHE or HF_HOME sets it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def snapshot_folder(pin: Mapping) -> Path:
    """The directory in which the hub's client keeps one commit of one repository."""
    from huggingface_hub.file_download import repo_folder_name

    repository = repo_folder_name(repo_id=pin["repo"], repo_type=pin["repo_type"])
    return cache_folder() / repository / "snapshots" / pin["commit"]


def missing_files(pin: Mapping) -> dict[str, int]:
    """Files of a pin that the cache does not hold at full size, name -> bytes."""
    folder = snapshot_folder(pin)
    return {name: size for name, size in pin["files"].items() if _size(folder / name) != size}


def read_lock(path: str | Path) -> dict[str, dict]:
    """snapshot -> pin (repo, repo_type, asked, commit, when, size, files, whole). Empty if there is no lock."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        whole = all(pin.keys() >= set(PIN) for pin in lock.values())
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise PromptpoolError(f"{path}: not a lock file that promptpool wrote; fix it or remove it")
    return lock


def held(marker: str | Path) -> dict:
    """What a marker records: a pin as in the lock, with its `folder`, verified to be whole.

    Raises PromptpoolError, one line, if the cache lacks one of its files, or if the lock names another commit.
    """
    marker = Path(marker)
    pin, lock = json.loads(marker.read_text(encoding="utf-8")), marker.parents[2] / LOCK
    commit = read_lock(lock).get(f"{marker.parent.name}/{marker.stem}", pin)["commit"]
    if commit != pin["commit"]:
        raise PromptpoolError(
            f"{marker}: holds {pin['repo']} at {pin['commit']}, and {lock} names {commit}; "
            f"remove {marker.parents[1]} and run again"
        )
    lost = missing_files(pin)
    if lost:
        raise PromptpoolError(
            f"{pin['repo']}@{pin['commit']} is incomplete in {cache_folder()}: no {next(iter(lost))}; "
            f"run `snakemake --cores all prefetch` where the hub can be reached"
        )
    return {**pin, "folder": str(snapshot_folder(pin))}


def pinned(model: Mapping, marker: str | None) -> dict:
    """A model's params (with a key `revision`) with the commit that is held for its revision.

    Stages get the id and the commit, not the cache's folder, because sidecars and model cards should name these. The
    libraries then read exactly that commit from the cache, or fail. A local model (no marker) is unchanged.
    """
    return {**model, "revision": held(marker)["commit"]} if marker else dict(model)


def snapshots(spec: Mapping) -> list[dict]:
    """What an entry of the config uses from the hub, as `held` returns it. Its key `snapshot` lists the markers."""
    return [held(marker) for marker in spec.get("snapshot", ())]


def commits(spec: Mapping) -> dict[str, str]:
    """repo -> commit of an entry's snapshots, for the sidecar of its outputs."""
    return {pin["repo"]: pin["commit"] for pin in snapshots(spec)}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


MODEL = "model"


DATASET = "dataset"


def snapshot_id(need: Mapping) -> str:
    """Names one need in paths and in the lock, as in `models/owner--small@main`. Equal needs share it."""
    name = f"{need['repo'].replace('/', '--')}@{need['revision']}" + (f"--{need['file']}" if need["file"] else "")
    return f"{need['repo_type']}s/{re.sub(r'[^A-Za-z0-9._@-]', '_', name)}"


def looks_local(path: str) -> bool:
    """Whether a model's path is a directory. A hub id is `name` or `owner/name`."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(path).exists()
