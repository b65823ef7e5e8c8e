"""What the report tells of where its numbers come from: the sidecars, followed back from what it shows."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..artifacts.files import sidecar_path

MOST_ARTIFACTS = 2000  # artifacts that are listed
DIGITS = 16  # of a SHA-256 that are shown


def chain(paths: Sequence[str | Path]) -> dict:
    """The artifacts behind some files, each named by a sidecar of what was made of it.

    Returns `rows` (artifact, digest, commit, finished, seconds, device; None where no sidecar says), sorted by name,
    `left_out` (how many beyond MOST_ARTIFACTS), `commits` and `packages` (name -> versions), of which a run made in
    one go has one each. An input without a sidecar of its own (a user's file, a model) has its digest alone.
    """
    waiting = [(str(path), None) for path in paths]
    rows: dict[str, dict] = {}
    commits: set[str] = set()
    packages: dict[str, set[str]] = {}
    while waiting:
        path, digest = waiting.pop()
        if path in rows:
            continue
        told = _read(path)
        rows[path] = {
            "artifact": path,
            "digest": (told.get("digest") or digest or "")[:DIGITS],
            "commit": (told.get("git_commit") or "")[:10],
            "finished": told.get("finished"),
            "seconds": told.get("seconds"),
            "device": told.get("device"),
        }
        commits |= {told["git_commit"]} if told.get("git_commit") else set()
        for name, version in (told.get("packages") or {}).items():
            packages.setdefault(name, set()).add(str(version))
        waiting += (told.get("inputs") or {}).items()
    ordered = [rows[path] for path in sorted(rows)]
    return {
        "rows": ordered[:MOST_ARTIFACTS],
        "left_out": max(0, len(ordered) - MOST_ARTIFACTS),
        "commits": sorted(commits),
        "packages": {name: sorted(versions) for name, versions in sorted(packages.items())},
    }


def _read(path: str) -> dict:
    """A sidecar's content; empty where there is none, or none that can be read."""
    try:
        return json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
