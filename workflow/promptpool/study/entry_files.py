"""What an entry of the config reads, as a rule's input: its local files, and the markers of what the hub gave.

A rule reruns if one of them changes.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config.long_texts import LONG_TEXT_KEYS
from ..hub.snapshots import looks_local, marker_path, snapshot_id
from .hub_needs import told

# The files that transformers and sentence-transformers load from a directory.
LOADED = {".safetensors", ".bin", ".json", ".model", ".txt", ".jinja"}

# The keys of an entry that may name a local file.
FILES_OF_ENTRIES = ("path", "labels", "queries", "documents", "qrels")


# The keys of a baseline that change no vector.
SERVER = ("url", "key_variable", "timeout", "retries", "concurrency", "batch_size")


def drop_task_defaults(tasks: Mapping[str, dict]) -> None:
    """Removes, in place, the default `measure` of search tasks, and the keys of long texts that are null: as before
    there were these keys, so that nothing is scored again.
    """
    for spec in tasks.values():
        if spec.get("measure") == "ndcg_at_10":
            del spec["measure"]
        for key in LONG_TEXT_KEYS:
            if spec.get(key) is None:
                spec.pop(key, None)


@functools.cache
def loaded_files(path: str) -> tuple[str, ...]:
    """A file, or the files that a model is loaded from if the path is its directory. Nothing for a hub id."""
    place = Path(path)
    if not looks_local(path) or not place.is_dir():
        return (path,) if place.is_file() else ()
    return tuple(sorted(str(file) for file in place.iterdir() if file.suffix in LOADED))


class EntryFiles:
    """The part of a Study that knows where an entry's content comes from."""

    config: Mapping
    results: str
    needs: Mapping[str, Sequence[Mapping]]

    def snapshot(self, section: str, name: str | None) -> list[str]:
        """The markers of what an entry of the config uses from the hub, as a rule's input; none for a local one."""
        return [marker_path(self.results, snapshot_id(need)) for need in self.needs.get(f"{section}.{name}", [])]

    def local_files(self, section: str, name: str | None) -> list[str]:
        """The local files that an entry of the config reads, as a rule's input: if they change, the rule reruns."""
        spec = self.config[section].get(name) or {}
        paths = [spec[key] for key in FILES_OF_ENTRIES if spec.get(key)]
        if section == "pairs" and spec["filters"]["semantic"]:  # only the judge's
            paths = [self.model_or_path(spec["filters"]["semantic"]["model"])["model"]]
        return [file for path in paths for file in loaded_files(path)]

    def hub_snapshots(self) -> dict[str, dict]:
        """snapshot -> its need, for everything that the study uses from the hub."""
        return {snapshot_id(need): need for needs in self.needs.values() for need in needs}

    def wanted_by(self, snapshot: str) -> str:
        """The entries of the config that need a snapshot, as errors name them."""
        return ", ".join(entry for entry, needs in self.needs.items() if snapshot in map(snapshot_id, needs))

    def wanted(self, snapshots: Sequence[str]) -> dict[str, tuple[dict, str]]:
        """snapshot -> (its need, the entries that want it), for some snapshots."""
        return {one: (self.hub_snapshots()[one], self.wanted_by(one)) for one in snapshots}

    def unfetched(self) -> list[str]:
        """What must still be downloaded from the hub, one `dotted.key: what` each."""
        return [
            told(entry, needs)
            for entry, needs in self.needs.items()
            if not all(Path(marker_path(self.results, snapshot_id(need))).exists() for need in needs)
        ]

    def baseline_spec(self, name: str) -> dict:
        """An entry of `baselines:` without what changes no vector."""
        return {key: value for key, value in self.config["baselines"][name].items() if key not in SERVER}

    def baseline_server(self, name: str) -> dict | None:
        """How the server of a baseline of kind openai is reached; None for other kinds."""
        spec = self.config["baselines"][name]
        return {key: spec[key] for key in SERVER} if spec["kind"] == "openai" else None

    def hub_spec(self, section: str, name: str) -> dict:
        """An entry of the config; if it comes from the hub, with the markers of its snapshots."""
        markers = self.snapshot(section, name)
        spec = dict(self.config[section][name])
        for key in ("negative", "task_share"):  # as before there were these keys, so that nothing is read again
            if spec.get(key) is None:
                spec.pop(key, None)
        if section == "tasks":  # these change no text and no label
            spec = {key: value for key, value in spec.items() if key not in LONG_TEXT_KEYS}
        return {**spec, **({"snapshot": markers} if markers else {})}
