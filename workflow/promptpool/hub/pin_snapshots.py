"""The lock: a repository's revision as one commit, looked up once, accessible to this user and small enough.

This runs before any download. A commit id in the config is used as it is. A branch or a tag is looked up on the hub
once, and the answer is kept: later runs read it from the lock, even if the branch has moved.
"""

import fnmatch
import json
import shutil
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import REGEX_COMMIT_HASH
from huggingface_hub.hf_api import RepoFile

from ..artifacts.files import finished, write_json
from ..errors import PromptpoolError
from .hub_errors import hub_errors_as_one_line
from .snapshots import LOCK, MODEL, cache_folder, missing_files, read_lock

AT_ONCE = 8  # requests to the hub

# Besides the safetensors that transformers reads, model repositories hold the weights in other programs' formats.
OTHER_FORMATS = (
    "*.gguf", "*.ggml", "*.onnx", "*.onnx_data", "*.msgpack", "*.h5", "*.ot", "*.tflite", "*.mlmodel", "*.nemo",
    "*.pth", "*.pt", "onnx/*", "openvino/*", "coreml/*", "original/*", "runs/*",
)  # fmt: skip


def pin_snapshots(results: str, needs: Mapping[str, tuple[Mapping, str]]) -> None:
    """Adds a pin for each need to the lock of a run, results/<run>. Snakemake's own process does this before any job.

    needs: snapshot -> (its need, see hub_needs; the config's entries that want it, for errors). Raises PromptpoolError,
    one line, for what the hub refuses or lacks, and if the disk is too small for everything that is pinned and not yet
    downloaded.
    """
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{LOCK}.lock"):  # each process reads the lock, adds to it, and writes it whole
        known = _in_use(folder) | read_lock(folder / LOCK)
        groups: dict[tuple, list[str]] = {}  # two files of one branch come from one commit, so it is looked up once
        for name, (need, _) in needs.items():
            groups.setdefault((need["repo_type"], need["repo"], need["revision"]), []).append(name)

        def look_up(names: Sequence[str]) -> dict[str, dict]:
            found: dict[str, dict] = {}
            for name in names:
                need, wanted_by = needs[name]
                found[name] = looked_up(need, known | found, name, wanted_by)
            return found

        with ThreadPoolExecutor(AT_ONCE) as pool:
            pins = {name: pin for found in pool.map(look_up, groups.values()) for name, pin in found.items()}
        everything = {**known, **pins}
        waiting = [pin for name, pin in everything.items() if not (folder / f"hub/{name}.json").exists()]
        others = f" and {len(needs) - 1} more" if len(needs) > 1 else ""
        require_space(waiting, "".join(wanted_by for _, wanted_by in [*needs.values()][:1]) + others)
        write_json(folder / LOCK, everything)


def looked_up(need: Mapping, known: Mapping[str, Mapping], snapshot: str, wanted_by: str) -> dict:
    """The pin of one need. The hub is not asked about what is known and in the cache."""
    repo, repo_type, revision = need["repo"], need["repo_type"], need["revision"]
    alike = [p for p in known.values() if (p["repo"], p["repo_type"], p["asked"]) == (repo, repo_type, revision)]
    before = known.get(snapshot)
    if before and not missing_files(before):
        return dict(before)
    api = HfApi()
    with hub_errors_as_one_line(wanted_by, repo_type, repo, revision):
        commit = alike[0]["commit"] if alike else revision
        if not REGEX_COMMIT_HASH.fullmatch(commit):
            commit = api.repo_info(repo, repo_type=repo_type, revision=revision).sha
        tree = api.list_repo_tree(repo, repo_type=repo_type, revision=commit, recursive=True)
        sizes = {item.path: item.size for item in tree if isinstance(item, RepoFile)}
        files = _chosen(need, f"{repo}@{commit}", sizes, wanted_by)
        # A gated repository lists its files to everyone but delivers them to few, so ask for one.
        get_hf_file_metadata(hf_hub_url(repo, min(files, key=files.get), repo_type=repo_type, revision=commit))
    return {
        "repo": repo,
        "repo_type": repo_type,
        "asked": revision,
        "commit": commit,
        "when": alike[0]["when"] if alike else datetime.now(UTC).isoformat(timespec="seconds"),
        "size": sum(files.values()),
        "files": files,
        "whole": len(files) == len(sizes),
    }


def wanted_files(repo_type: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """The files to download, name -> bytes: all of a data set; of a model, no second format of its weights."""
    if repo_type != MODEL:
        return dict(sizes)
    wanted = {name: size for name, size in sizes.items() if not any(fnmatch.fnmatch(name, p) for p in OTHER_FORMATS)}
    folders: dict[str, set[str]] = {}
    for name in wanted:
        folder, _, base = name.rpartition("/")
        folders.setdefault(folder, set()).add(base)

    def double(name: str) -> bool:
        folder, _, base = name.rpartition("/")
        safe = [other for other in folders[folder] if other.endswith(".safetensors")]
        if base.startswith("consolidated"):
            return any(other.startswith("model") for other in safe)
        return bool(safe) and base.endswith((".bin", ".bin.index.json"))

    return {name: size for name, size in wanted.items() if not double(name)}


def require_space(pins: Iterable[Mapping], wanted_by: str) -> None:
    """Raises PromptpoolError if the hub's cache has less free space than the pins' missing files need."""
    files = {(p["repo_type"], p["repo"], p["commit"], f): size for p in pins for f, size in missing_files(p).items()}
    asked, place = sum(files.values()), cache_folder().absolute()
    free = shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free
    if asked > free:
        raise PromptpoolError(
            f"{wanted_by}: {asked / 1e9:.1f} GB are to be downloaded into {place} and {free / 1e9:.1f} GB are free; "
            f"free some space, or set HF_HOME to a larger disk"
        )


def _chosen(need: Mapping, what: str, sizes: Mapping[str, int], wanted_by: str) -> dict[str, int]:
    if need["file"]:
        files = {name: size for name, size in sizes.items() if fnmatch.fnmatch(name, need["file"])}
        listed = ", ".join(sorted(sizes)[:8]) or "none"
        fault = f"{what} has no file {need['file']!r}; it has {listed}"
    elif need["repo_type"] == MODEL and not _loads(sizes, wanted_by):
        files, fault = {}, f"{what} holds no config.json; name a model that transformers reads"
    else:
        files, fault = wanted_files(need["repo_type"], sizes), f"{what} holds no file; name another repository"
    if not files:
        raise PromptpoolError(f"{wanted_by}: {fault}")
    return files


def _loads(names: Container[str], wanted_by: str) -> bool:
    """Whether a repository has the file by which transformers, or PEFT for an entry of `adapters`, knows its model."""
    adapter = "adapters." in wanted_by and "adapter_config.json" in names
    return adapter or "config.json" in names


def _in_use(results: Path) -> dict[str, dict]:
    """The pins in the markers, in case the lock was lost: what is in use stays in use."""
    found = (path for kind in ("models", "datasets") for path in finished(results / "hub" / kind, "*.json"))
    markers = [path for path in found if not path.name.endswith(".meta.json")]
    return {f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8")) for path in markers}
