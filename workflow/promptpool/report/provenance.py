"""The provenance that the report shows: the sidecars, followed back from its inputs."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..artifacts.files import sidecar_path

MOST_ARTIFACTS = 2000  # the most artifacts that are listed
DIGITS = 16  # digits of a SHA-256 that are shown


def chain(paths: Sequence[str | Path]) -> dict:
    """The artifacts behind some files, found by following the inputs in their sidecars.

    Returns `rows` (artifact, digest, commit, finished, seconds, device; None if no sidecar records it), sorted by name;
    `left_out` (how many beyond MOST_ARTIFACTS); and `commits` and `packages` (name -> versions), which have one value
    each for a run made in one go. An input without its own sidecar (a user's file, a model) has only its digest.
    """
    rows: dict[str, dict] = {}
    commits: set[str] = set()
    packages: dict[str, set[str]] = {}
    for path, (sidecar, digest) in sidecars(paths).items():
        rows[path] = {
            "artifact": path,
            "digest": (sidecar.get("digest") or digest or "")[:DIGITS],
            "commit": (sidecar.get("git_commit") or "")[:10],
            "finished": sidecar.get("finished"),
            "seconds": sidecar.get("seconds"),
            "device": sidecar.get("device"),
        }
        commits |= {sidecar["git_commit"]} if sidecar.get("git_commit") else set()
        for name, version in (sidecar.get("packages") or {}).items():
            packages.setdefault(name, set()).add(str(version))
    ordered = [rows[path] for path in sorted(rows)]
    return {
        "rows": ordered[:MOST_ARTIFACTS],
        "left_out": max(0, len(ordered) - MOST_ARTIFACTS),
        "commits": sorted(commits),
        "packages": {name: sorted(versions) for name, versions in sorted(packages.items())},
    }


def sidecars(paths: Sequence[str | Path]) -> dict[str, tuple[dict, str | None]]:
    """Artifact -> (its sidecar, its digest as the one that read it says), of all that is behind some files."""
    waiting: list[tuple[str, str | None]] = [(str(path), None) for path in paths]
    found: dict[str, tuple[dict, str | None]] = {}
    while waiting:
        path, digest = waiting.pop()
        if path not in found:
            found[path] = read_sidecar(path), digest
            waiting += (found[path][0].get("inputs") or {}).items()
    return found


def read_sidecar(path: str | Path) -> dict:
    """A sidecar's content; empty if there is none, or none that can be read."""
    try:
        return json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
