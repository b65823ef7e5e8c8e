"""What was fetched from the model hub, as the jobs find it: in the hub's cache, at exactly the commit that is held.

`prefetch` (hub_lock, hub_fetch) writes a marker for each entry of the config that needs the hub; the jobs read it
here. Nothing here speaks to the network, and nothing falls back on another revision.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from .errors import PromptpoolError

LOCK = "hub.lock.json"


def marker_path(results: str, key: str) -> str:
    """The marker of one entry (`models/small`), which says what is held of it and where."""
    return f"{results}/hub/{key}.json"


def lock_path(marker: str | Path) -> Path:
    """The lock file of the run that a marker belongs to."""
    return Path(marker).parents[2] / LOCK


def cache_folder() -> Path:
    """The hub's cache, where HF_HUB_CACHE or HF_HOME put it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def snapshot_folder(entry: Mapping) -> Path:
    """The directory that the hub's client keeps one commit of one repository in."""
    repository = "--".join([f"{entry['repo_type']}s", *entry["repo"].split("/")])
    return cache_folder() / repository / "snapshots" / entry["commit"]


def missing_files(entry: Mapping) -> dict[str, int]:
    """Files of an entry that are not in the cache at their full size, name -> bytes."""
    folder = snapshot_folder(entry)
    return {name: size for name, size in entry["files"].items() if _size(folder / name) != size}


def read_lock(path: str | Path) -> dict[str, list[dict]]:
    """`section/name` -> entries (repo, repo_type, asked, commit, when, size, files). Empty where there is no lock."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        assert all({"repo", "repo_type", "asked", "commit"} <= entry.keys() for held in lock.values() for entry in held)
    except (ValueError, AttributeError, TypeError, AssertionError):
        raise PromptpoolError(f"{path}: no lock file that promptpool wrote; mend it or remove it") from None
    return lock


def read_marker(marker: str | Path) -> dict:
    """`need`, the config entry it is about (`models/small`), and `snapshots`, its entries."""
    return json.loads(Path(marker).read_text(encoding="utf-8"))


def held(marker: str | Path) -> list[dict]:
    """What a marker says is held: entries as in the lock, each with its `folder`, looked at and found whole.

    Raises PromptpoolError, one line, where the cache lacks a file of it, and where the lock names another commit.
    """
    marker, content = Path(marker), read_marker(marker)
    key, entries = content["need"], content["snapshots"]
    pinned = {(e["repo_type"], e["repo"], e["asked"]): e["commit"] for e in read_lock(lock_path(marker)).get(key, [])}
    for entry in entries:
        commit = pinned.get((entry["repo_type"], entry["repo"], entry["asked"]), entry["commit"])
        if commit != entry["commit"]:
            raise PromptpoolError(
                f"{marker}: holds {entry['repo']} at {entry['commit']}, and {lock_path(marker)} names {commit}; "
                f"remove {marker} and run again"
            )
        lost = missing_files(entry)
        if lost:
            raise PromptpoolError(
                f"{key.replace('/', '.', 1)}: {entry['repo']}@{entry['commit']} is not whole in {cache_folder()}: "
                f"no {next(iter(lost))}; run `snakemake --cores all prefetch` where the hub can be reached"
            )
    return [{**entry, "folder": str(snapshot_folder(entry))} for entry in entries]


def pinned(model: Mapping, marker: str | None) -> dict:
    """A model's params (`model`, `revision`, perhaps more) with the commit that is held for its revision.

    Id and commit, not the cache's folder, go to the stages: these are what a sidecar or a model card should say, and
    the libraries then read that very commit from the cache, or fail. A local model (no marker) stays as it is.
    """
    if not marker:
        return dict(model)
    (entry,) = held(marker)
    return {**model, "revision": entry["commit"]}


def snapshots(spec: Mapping) -> list[dict]:
    """What an entry of the config takes from the hub, as `held` gives it; its key `snapshot` names its marker."""
    return held(spec["snapshot"]) if spec.get("snapshot") else []


def commits(spec: Mapping) -> dict[str, str]:
    """repo -> commit of an entry's snapshots, for the sidecar of what is made of them."""
    return {entry["repo"]: entry["commit"] for entry in snapshots(spec)}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
