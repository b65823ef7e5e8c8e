"""What was fetched from the model hub, as the jobs find it: in the hub's cache, at exactly the commit that is pinned.

`prefetch` (pin_snapshot, fetch_snapshot) writes a marker for each repository; the jobs read it here. Nothing here
speaks to the network, and nothing falls back on another revision.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import PromptpoolError

LOCK = "hub.lock.json"
PIN = ("repo", "repo_type", "asked", "commit", "files")


def marker_path(results: str, snapshot: str) -> str:
    """The marker of one snapshot (see hub_needs.snapshot_id): it says what is held and where."""
    return f"{results}/hub/{snapshot}.json"


def cache_folder() -> Path:
    """The hub's cache, where HF_HUB_CACHE or HF_HOME put it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def snapshot_folder(pin: Mapping) -> Path:
    """The directory that the hub's client keeps one commit of one repository in."""
    from huggingface_hub.file_download import repo_folder_name

    repository = repo_folder_name(repo_id=pin["repo"], repo_type=pin["repo_type"])
    return cache_folder() / repository / "snapshots" / pin["commit"]


def missing_files(pin: Mapping) -> dict[str, int]:
    """Files of a pin that are not in the cache at their full size, name -> bytes."""
    folder = snapshot_folder(pin)
    return {name: size for name, size in pin["files"].items() if _size(folder / name) != size}


def read_lock(path: str | Path) -> dict[str, dict]:
    """snapshot -> pin (repo, repo_type, asked, commit, when, size, files, whole). Empty where there is no lock."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        whole = all(pin.keys() >= set(PIN) for pin in lock.values())
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise PromptpoolError(f"{path}: no lock file that promptpool wrote; mend it or remove it")
    return lock


def held(marker: str | Path) -> dict:
    """What a marker says is held: a pin as in the lock with its `folder`, looked at and found whole.

    Raises PromptpoolError, one line, where the cache lacks a file of it, and where the lock names another commit.
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
            f"{pin['repo']}@{pin['commit']} is not whole in {cache_folder()}: no {next(iter(lost))}; "
            f"run `snakemake --cores all prefetch` where the hub can be reached"
        )
    return {**pin, "folder": str(snapshot_folder(pin))}


def pinned(model: Mapping, marker: str | None) -> dict:
    """A model's params (with a key `revision`) with the commit that is held for its revision.

    Id and commit, not the cache's folder, go to the stages: these are what a sidecar or a model card should say, and
    the libraries then read that very commit from the cache, or fail. A local model (no marker) stays as it is.
    """
    return {**model, "revision": held(marker)["commit"]} if marker else dict(model)


def snapshots(spec: Mapping) -> list[dict]:
    """What an entry of the config takes from the hub, as `held` gives it; its key `snapshot` lists the markers."""
    return [held(marker) for marker in spec.get("snapshot", ())]


def commits(spec: Mapping) -> dict[str, str]:
    """repo -> commit of an entry's snapshots, for the sidecar of what is made of them."""
    return {pin["repo"]: pin["commit"] for pin in snapshots(spec)}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


MODEL = "model"


DATASET = "dataset"


def snapshot_id(need: Mapping) -> str:
    """Names one need in paths and in the lock: `models/owner--small@main`; entries that need the same share it."""
    name = f"{need['repo'].replace('/', '--')}@{need['revision']}" + (f"--{need['file']}" if need["file"] else "")
    return f"{need['repo_type']}s/{re.sub(r'[^A-Za-z0-9._@-]', '_', name)}"


def looks_local(path: str) -> bool:
    """Whether a model's path means a directory. A hub id is `name` or `owner/name`."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(path).exists()
