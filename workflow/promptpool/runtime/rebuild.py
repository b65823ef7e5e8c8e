"""Verifies every artifact of a run and rebuilds the damaged ones, and those that change because of it, nothing else.

    python -m promptpool.runtime.rebuild results/demo                                             # only looks
    python -m promptpool.runtime.rebuild results/demo -- snakemake --workflow-profile workflow/profiles/demo

Snakemake reruns everything after a rebuilt file, because that file is newer. So this asks Snakemake only for the file
itself. If the new file equals the lost one, it gets its old time back, and nothing after it is out of date. If it
differs (a log of times, a GPU's rounding), this asks for the artifacts that used it next.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ..artifacts.files import STAMP, remove, sidecar_path
from ..artifacts.integrity import fault_of, read_sealed
from ..artifacts.parts import read_manifest
from ..errors import PromptpoolError

END = ".meta.json"


def artifacts_of(results: str | Path) -> list[Path]:
    """All artifacts below a run's results that have a sidecar."""
    found = sorted(Path(results).rglob(f"*{END}"))
    return [path.with_name(path.name.removesuffix(END)) for path in found]


def damaged(results: str | Path) -> Iterator[tuple[Path, str]]:
    """Every artifact that exists but is not whole, with its fault as one line."""
    known = [path for path in artifacts_of(results) if path.exists()]
    for path in tqdm(known, desc="verify", unit="file", mininterval=2, disable=not sys.stderr.isatty()):
        fault = fault_of(path)
        if fault:
            yield path, fault


def mend(results: str | Path, command: Sequence[str]) -> int:
    """Removes damaged artifacts and runs `command` with them as targets, until nothing differs. Returns the exit code.

    command: how Snakemake is called for this run, without targets. It must run in the current working directory.
    """
    targets = []
    before = {
        str(path): (read_sealed(sidecar_path(path)), times(path)) for path in artifacts_of(results) if path.exists()
    }
    for path, fault in damaged(results):
        print(fault, flush=True)
        remove(path)
        targets.append(owner_of(path))
    while targets:
        targets = list(dict.fromkeys(targets))
        for target in targets:
            remove(target)
        code = subprocess.run([*command, "--", *targets], check=False).returncode
        if code:
            return code
        changed = settle(before)
        targets = [path for path in map(owner_of, readers(before, changed)) if path not in targets]
    return 0


def owner_of(path: str | Path) -> str:
    """What Snakemake is asked for to get a file: itself, or the manifest of the job that makes it among others."""
    sidecar = sidecar_path(path)
    recorded = (read_sealed(sidecar) if sidecar.exists() else None) or {}
    if recorded.get("manifest"):
        return recorded["manifest"]
    for folder in Path(path).parents:  # its sidecar is damaged
        lists = [one for one in folder.glob("*.json") if sidecar_path(one).exists() and str(path) in listed_in(one)]
        if lists:
            return str(lists[0])
    return str(path)


def listed_in(manifest: Path) -> list[str]:
    """The files that a manifest lists; none for another kind of file."""
    try:
        return [str(manifest.parent / name) for name in read_manifest(manifest)]
    except PromptpoolError:
        return []


def settle(before: dict) -> dict[str, str]:
    """Restores the old time of rebuilt artifacts that are equal. Returns path -> digest of those that are not."""
    changed = {}
    for path, (old, then) in before.items():
        if not Path(path).exists() or times(path) == then:
            continue
        new = read_sealed(sidecar_path(path))
        if old and new and old["digest"] == new["digest"]:
            for file, when in {Path(path): then[sidecar_path(path)], **then}.items():
                if file.exists():
                    os.utime(file, ns=(when, when))
        elif new:
            changed[path] = new["digest"]
    return changed


def readers(before: dict, changed: dict[str, str]) -> list[str]:
    """The artifacts that read a changed artifact and were not rebuilt since."""
    found = []
    for path in before:
        sidecar = read_sealed(sidecar_path(path)) if sidecar_path(path).exists() and Path(path).exists() else None
        inputs = sidecar.get("inputs", {}) if sidecar else {}
        if any(name in changed and digest != changed[name] for name, digest in inputs.items()):
            found.append(path)
    return found


def times(path: str | Path) -> dict[Path, int]:
    """The files whose times show when an artifact was made, with these times in nanoseconds.

    These are its sidecar, because damage changes a file's own time, and a directory's Snakemake stamp, because an
    unpacked directory is younger than its sidecar.
    """
    files = (sidecar_path(path), Path(path, STAMP))
    return {file: file.stat().st_mtime_ns for file in files if file.exists()}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m promptpool.runtime.rebuild", description=__doc__.splitlines()[0])
    parser.add_argument("results", help="a run's directory: results/<run>")
    parser.add_argument("command", nargs="*", help="after --: how Snakemake is called for this run, without targets")
    given = parser.parse_args(arguments)
    if not Path(given.results).is_dir():
        print(f"{given.results}: no such directory; give results/<run>")
        return 2
    if given.command:
        return mend(given.results, given.command)
    faults = [fault for _, fault in damaged(given.results)]
    print("\n".join([*faults, f"{len(artifacts_of(given.results))} artifacts verified, {len(faults)} damaged"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
