"""Downloads pinned snapshots. Each gets a marker once all its files are in the hub's cache."""

import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from ..artifacts.files import write_json
from ..errors import PromptpoolError
from .hub_errors import hub_errors_as_one_line
from .pin_snapshots import require_space
from .snapshots import LOCK, held, missing_files, read_lock, snapshot_folder


def fetch_snapshot(out: str, wanted_by: str) -> None:
    """Downloads one snapshot at the commit of the run's lock, and writes its marker: what is held and where.

    out: results/<run>/hub/{snapshot}.json. A file in the cache is not downloaded again; an interrupted download is
    resumed. Raises PromptpoolError, one line, if the lock does not have it, or if the hub refuses or returns another
    commit than asked for.
    """
    path = Path(out)
    lock, snapshot = path.parents[2] / LOCK, f"{path.parent.name}/{path.stem}"
    content = read_lock(lock).get(snapshot)
    if content is None:
        raise PromptpoolError(f"{lock}: has no commit for {wanted_by}; was it removed just now? Run again")
    fetch(content, wanted_by)
    write_json(out, {**content, "folder": str(snapshot_folder(content))})


def prefetch(markers: Sequence[str]) -> None:
    """Checks every marker's files and downloads again what the cache has lost. The markers do not change."""
    for marker in markers:
        pin = json.loads(Path(marker).read_text(encoding="utf-8"))
        fetch(pin, f"{pin['repo_type']}s")
        found = held(marker)
        print(f"{pin['repo']}@{pin['commit']}: {pin['size'] / 1e6:,.1f} MB in {found['folder']}", flush=True)


def fetch(pin: Mapping, wanted_by: str) -> None:
    """Downloads a pin's missing files into the hub's cache, and verifies them."""
    if not missing_files(pin):
        return
    require_space([pin], wanted_by)
    # The client would match every file against the whole list, so only a selection is listed.
    only = None if pin["whole"] else [glob.escape(name) for name in pin["files"]]
    with hub_errors_as_one_line(wanted_by, pin["repo_type"], pin["repo"], pin["commit"]):
        snapshot_download(pin["repo"], repo_type=pin["repo_type"], revision=pin["commit"], allow_patterns=only)
    lost = missing_files(pin)
    if lost:
        raise PromptpoolError(
            f"{wanted_by}: {pin['repo']} was asked for at {pin['commit']}, and {next(iter(lost))} was not delivered; "
            "is HF_ENDPOINT a mirror that lacks it?"
        )
