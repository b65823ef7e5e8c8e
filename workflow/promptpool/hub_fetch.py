"""Fetching what the lock names: one marker a config entry, written when all its files are in the hub's cache."""

import glob
from collections.abc import Mapping, Sequence

from huggingface_hub import snapshot_download

from .artifacts import write_json
from .errors import PromptpoolError
from .hub import held, lock_path, missing_files, read_lock, read_marker, snapshot_folder
from .hub_errors import one_line
from .hub_lock import repositories, require_space


def fetch_snapshot(out: str, key: str, need: Mapping) -> None:
    """Fetches one need's repositories at the lock's commits, and writes its marker: what is held, and where.

    A file that is there is not fetched again; a broken connection is taken up where it broke.
    Raises PromptpoolError, one line, for the hub's refusals and for what came at another commit than asked.
    """
    locked = {(e["repo_type"], e["repo"], e["asked"]): e for e in read_lock(lock_path(out)).get(key, [])}
    entries = []
    for asked in repositories(key, need):
        if asked not in locked:
            raise PromptpoolError(f"{lock_path(out)}: no entry for {asked[1]}@{asked[2]}; remove {out} and run again")
        entries.append(locked[asked])
    fetch(key, entries)
    write_json(out, {"need": key, "snapshots": [{**e, "folder": str(snapshot_folder(e))} for e in entries]})


def prefetch(markers: Sequence[str]) -> None:
    """Looks at every marker's files and fetches again what the cache has lost; the markers stay as they are."""
    for marker in markers:
        content = read_marker(marker)
        fetch(content["need"], content["snapshots"])
        held(marker)
        for entry in content["snapshots"]:
            what = f"{entry['repo']}@{entry['commit']}, {entry['size'] / 1e6:,.1f} MB"
            print(f"{content['need']}: {what}, in {snapshot_folder(entry)}", flush=True)


def fetch(key: str, entries: Sequence[Mapping]) -> None:
    """Brings every entry's missing files into the hub's cache, and looks at what came."""
    require_space(entries)
    for entry in entries:
        if not missing_files(entry):
            continue
        # A list of every file would be matched against every file: only a selection is spelt out.
        only = None if entry["whole"] else [glob.escape(name) for name in entry["files"]]
        with one_line(key, entry["repo_type"], entry["repo"], entry["commit"]):
            snapshot_download(
                entry["repo"], repo_type=entry["repo_type"], revision=entry["commit"], allow_patterns=only
            )
        lost = missing_files(entry)
        if lost:
            raise PromptpoolError(
                f"{key.replace('/', '.', 1)}: {entry['repo']} was asked for at {entry['commit']}, and "
                f"{next(iter(lost))} of it did not come; is HF_ENDPOINT a mirror that lacks it?"
            )
