"""The lock: every repository that a study needs at one commit, looked up once, and all of it allowed and affordable.

This runs before any costly job. A commit id in the config is taken as it is; a branch, a tag or nothing is asked of
the hub once, and the answer is kept: later runs read it from the lock file, also if the branch has moved.
"""

import fnmatch
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import REGEX_COMMIT_HASH
from huggingface_hub.hf_api import RepoFile
from tqdm import tqdm

from .artifacts import write_json
from .errors import PromptpoolError
from .hub import cache_folder, missing_files, read_lock, read_marker
from .hub_errors import one_line, unknown_file
from .hub_needs import MODEL

# Beside the safetensors weights that transformers reads, model repositories hold the same in other programs' formats.
OTHER_FORMATS = (
    "*.gguf", "*.ggml", "*.onnx", "*.onnx_data", "*.msgpack", "*.h5", "*.ot", "*.tflite", "*.mlmodel", "*.nemo",
    "*.pth", "*.pt", "onnx/*", "openvino/*", "coreml/*", "original/*", "runs/*",
)  # fmt: skip
Asked = tuple[str, str, str]  # repo_type, repo, revision as asked


def lock_hub(out: str, needs: Mapping[str, Mapping]) -> None:
    """Writes the lock of all `needs` (see hub_needs) and shows what will be fetched.

    Raises PromptpoolError, one line, for the first that the hub refuses or lacks, and where the disk is too small.
    """
    known = _known(Path(out))
    commits = {_asked(entry): entry for held in known.values() for entry in held}
    lock: dict[str, list[dict]] = {}
    for key, need in tqdm(sorted(needs.items()), desc="look up", unit="entry"):
        lock[key] = [_entry(key, need, asked, commits) for asked in repositories(key, need)]
        commits |= {_asked(entry): entry for entry in lock[key]}
    require_space([entry for held in lock.values() for entry in held])
    write_json(out, known | lock)


def repositories(key: str, need: Mapping) -> list[Asked]:
    """The repositories behind one need: one, or what MTEB says of its task."""
    if not need["task"]:
        return [(need["repo_type"], need["repo"], need["revision"] or "main")]
    from .mteb_data import data_sets

    return [(need["repo_type"], repo, revision) for repo, revision in data_sets(key, need["task"], need["revision"])]


def wanted_files(repo_type: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """What is fetched of a repository, name -> bytes: of a data set all; of a model no second format of its weights."""
    if repo_type != MODEL:
        return dict(sizes)
    wanted = {name: size for name, size in sizes.items() if not any(fnmatch.fnmatch(name, p) for p in OTHER_FORMATS)}
    for folder in {name.rpartition("/")[0] for name in wanted}:
        here = {name: name.rpartition("/")[2] for name in wanted if name.rpartition("/")[0] == folder}
        if any(base.endswith(".safetensors") for base in here.values()):
            doubles = [name for name, base in here.items() if base.endswith((".bin", ".bin.index.json"))]
            if any(base.startswith("model") for base in here.values()):
                doubles += [name for name, base in here.items() if base.startswith("consolidated")]
            for name in doubles:
                del wanted[name]
    return wanted


def require_space(entries: Iterable[Mapping]) -> None:
    """Raises PromptpoolError where the hub's cache has less room than the entries' missing files take."""
    files = {(e["repo"], e["commit"], name): size for e in entries for name, size in missing_files(e).items()}
    asked, place = sum(files.values()), cache_folder()
    there = next(path for path in (place, *place.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    print(f"to fetch: {asked / 1e9:.2f} GB into {place}, {free / 1e9:.1f} GB free", flush=True)
    if asked > free:
        raise PromptpoolError(
            f"{place}: {asked / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB are free; "
            f"make room, or set HF_HOME to a larger disk"
        )


def _entry(key: str, need: Mapping, asked: Asked, known: Mapping[Asked, Mapping]) -> dict:
    """One repository's entry in the lock; the hub is asked for nothing that is known and in the cache."""
    repo_type, repo, revision = asked
    entry = dict(known.get(asked, {}))
    if entry.get("files") and entry.get("file") == need["file"] and not missing_files(entry):
        return entry
    api = HfApi()
    with one_line(key, repo_type, repo, revision):
        commit = entry.get("commit") or (revision if REGEX_COMMIT_HASH.fullmatch(revision) else None)
        commit = commit or api.repo_info(repo, repo_type=repo_type, revision=revision).sha
        tree = api.list_repo_tree(repo, repo_type=repo_type, revision=commit, recursive=True)
        sizes = {item.path: item.size for item in tree if isinstance(item, RepoFile)}
        files = _chosen(key, need, repo, commit, sizes)
        # A gated repository lists its files to everyone and gives them to few: ask for one.
        first = min(files, key=files.get)
        url = hf_hub_url(repo, first, repo_type=repo_type, revision=commit)
        get_hf_file_metadata(url)
    return {
        "repo": repo,
        "repo_type": repo_type,
        "asked": revision,
        "commit": commit,
        "when": entry.get("when") or datetime.now(UTC).isoformat(timespec="seconds"),
        "size": sum(files.values()),
        "file": need["file"],
        "files": files,
        "whole": len(files) == len(sizes),
    }


def _chosen(key: str, need: Mapping, repo: str, commit: str, sizes: Mapping[str, int]) -> dict[str, int]:
    where = key.replace("/", ".", 1)
    if need["file"]:
        files = {name: size for name, size in sizes.items() if fnmatch.fnmatch(name, need["file"])}
        if not files:
            raise unknown_file(key, repo, commit, need["file"], sizes)
        return files
    files = wanted_files(need["repo_type"], sizes)
    if not files:
        raise PromptpoolError(f"{where}: {repo}@{commit} holds no file to fetch; name another repository")
    if need["repo_type"] == MODEL and "config.json" not in files:
        raise PromptpoolError(f"{where}: {repo}@{commit} holds no config.json; name a model that transformers reads")
    return files


def _asked(entry: Mapping) -> Asked:
    return entry["repo_type"], entry["repo"], entry["asked"]


def _known(lock: Path) -> dict[str, list[dict]]:
    """The lock's entries, and those of markers that a lost lock no longer names: what is in use stays in use."""
    marked = [read_marker(path) for path in sorted(lock.parent.glob("hub/*/*.json"))]
    return {content["need"]: content["snapshots"] for content in marked} | read_lock(lock)
