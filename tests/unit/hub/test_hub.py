"""The hub's lock, snapshots and refusals, against a hub on loopback that speaks its protocol."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakehub import FakeHub, serving
from huggingface_hub import constants
from promptpool.errors import PromptpoolError
from promptpool.hub import fetch_snapshot as hub_fetch
from promptpool.hub import pin_snapshots as hub_lock
from promptpool.hub import snapshots as hub
from promptpool.hub.snapshots import MODEL, snapshot_id

MODEL_FILES = {"config.json": b"{}", "model.safetensors": b"w" * 5000, "pytorch_model.bin": b"w" * 5000}
WANTED_BY = "models.small"


def need(repo: str = "owner/small", revision: str = "main", repo_type: str = "model", file: str | None = None) -> dict:
    return {"repo_type": repo_type, "repo": repo, "revision": revision, "file": file}


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    """A hub, and an empty cache; no token."""
    with serving(tmp_path / "served") as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield running


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results/run"


def pin(results: Path, wanted: dict) -> dict:
    """Pins one need, as a run does before its jobs, and returns what the lock has of it."""
    hub_lock.pin_snapshots(str(results), {snapshot_id(wanted): (wanted, WANTED_BY)})
    return hub.read_lock(results / hub.LOCK)[snapshot_id(wanted)]


def fetched(results: Path, wanted: dict) -> str:
    """Pins and fetches one need; returns its marker."""
    pin(results, wanted)
    marker = hub.marker_path(str(results), snapshot_id(wanted))
    hub_fetch.fetch_snapshot(marker, WANTED_BY)
    return marker


def refusal(results: Path, wanted: dict) -> str:
    with pytest.raises(PromptpoolError) as caught:
        fetched(results, wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(text: bytes) -> dict[str, bytes]:
    return {**MODEL_FILES, "config.json": text}


# --- the lock ---------------------------------------------------------------------------------------


def test_a_branch_is_looked_up_once_and_a_moved_branch_changes_nothing(served, results):
    first = served.commit("model", "owner/small", MODEL_FILES)
    assert pin(results, need())["commit"] == first
    served.commit("model", "owner/small", changed(b'{"moved": 1}'))
    marker = fetched(results, need())
    assert pin(results, need())["commit"] == first
    assert hub.pinned({"model": "owner/small", "revision": "main"}, marker)["revision"] == first
    assert Path(hub.held(marker)["folder"], "config.json").read_bytes() == b"{}"


def test_a_commit_id_is_taken_as_it_is(served, results):
    old = served.commit("model", "owner/small", MODEL_FILES)
    served.commit("model", "owner/small", changed(b'{"new": 1}'))
    found = pin(results, need(revision=old))
    assert found["asked"] == found["commit"] == old


def test_another_ask_is_looked_up_and_leaves_the_others(served, results):
    kept = served.commit("model", "owner/kept", MODEL_FILES)
    served.commit("model", "owner/small", MODEL_FILES)
    before = pin(results, need("owner/kept")), pin(results, need())
    tagged = served.commit("model", "owner/small", changed(b'{"v": 2}'), ref="v2")
    served.commit("model", "owner/kept", changed(b'{"moved": 1}'))
    assert pin(results, need(revision="v2"))["commit"] == tagged
    lock = hub.read_lock(results / hub.LOCK)
    assert (lock["models/owner--kept@main"], lock["models/owner--small@main"]) == before
    assert before[0]["commit"] == kept


def test_a_lost_lock_is_made_again_from_what_is_in_use(served, results):
    first = served.commit("model", "owner/small", MODEL_FILES)
    fetched(results, need())
    served.commit("model", "owner/small", changed(b'{"moved": 1}'))
    (results / hub.LOCK).unlink()
    assert pin(results, need())["commit"] == first


def test_what_a_killed_fetch_left_half_written_is_no_pin(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    marker = Path(fetched(results, need()))
    marker.with_name(f".{marker.name}.123.tmp.json").write_text('{"repo": "own')
    pin(results, need())
    assert len(hub.read_lock(results / hub.LOCK)) == 1


def test_a_lock_from_elsewhere_is_followed(served, results):
    theirs = served.commit("model", "owner/small", MODEL_FILES)
    pin(results, need())
    served.commit("model", "owner/small", changed(b'{"moved": 1}'))
    mine = results.with_name("mine")
    mine.mkdir()
    (mine / hub.LOCK).write_bytes((results / hub.LOCK).read_bytes())
    assert hub.held(fetched(mine, need()))["commit"] == theirs


def test_what_is_pinned_and_cached_is_not_asked_for(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    fetched(results, need())
    served.stop()
    fetched(results, need())


def test_two_files_of_one_branch_come_from_one_commit(served, results):
    first = served.commit("dataset", "owner/data", {"a.txt": b"a", "b.txt": b"b"})
    pin(results, need("owner/data", repo_type="dataset", file="a.txt"))
    served.commit("dataset", "owner/data", {"a.txt": b"new", "b.txt": b"new"})
    assert pin(results, need("owner/data", repo_type="dataset", file="b.txt"))["commit"] == first


def test_a_pin_says_what_was_asked_and_how_large_it_is(served, results):
    served.commit("dataset", "owner/data", {"test.jsonl": b"12345", "README.md": b"67"}, commit="a" * 40)
    found = pin(results, need("owner/data", repo_type="dataset"))
    told = {key: found[key] for key in ("repo", "repo_type", "asked", "commit", "size")}
    assert told == {"repo": "owner/data", "repo_type": "dataset", "asked": "main", "commit": "a" * 40, "size": 7}
    assert found["when"].startswith("20")


@pytest.mark.parametrize("content", ['{"models/small": "main"}', "[]", "{", '{"models/small": {"repo": "x"}}'])
def test_a_file_that_is_no_lock_is_named(served, results, content):
    served.commit("model", "owner/small", MODEL_FILES)
    results.mkdir(parents=True)
    (results / hub.LOCK).write_text(content)
    assert "hub.lock.json: not a lock file" in refusal(results, need())


def test_many_processes_pin_at_once_and_lose_nothing(served, results):
    repos = [f"owner/r{n}" for n in range(8)]
    for repo in repos:
        served.commit("dataset", repo, {"a.txt": repo.encode()})
    with ThreadPoolExecutor(8) as pool:  # a lock of files holds between open files, in one process too
        list(pool.map(lambda repo: fetched(results, need(repo, repo_type="dataset")), repos))
    assert len(hub.read_lock(results / hub.LOCK)) == len(repos)


def test_many_needs_are_pinned_by_one_call_and_each_branch_is_asked_for_once(served, results):
    repos = [f"owner/r{n}" for n in range(3)]
    for repo in repos:
        served.commit("dataset", repo, {"a.txt": repo.encode(), "b.txt": b"b"})
    wanted = [need(repo, repo_type="dataset", file=file) for repo in repos for file in ("a.txt", "b.txt")]
    hub_lock.pin_snapshots(str(results), {snapshot_id(one): (one, WANTED_BY) for one in wanted})
    lock = hub.read_lock(results / hub.LOCK)
    assert set(lock) == {snapshot_id(one) for one in wanted}
    asked = [path for _, path, _, _ in served.requests if "/revision/main" in path]
    assert len(asked) == len(set(asked)) == len(repos)


def test_the_disk_must_hold_all_of_them_together(served, results):
    wanted = [need(f"owner/r{n}", repo_type="dataset") for n in range(2)]
    for one in wanted:
        served.commit("dataset", one["repo"], {"a.txt": b"a"})
        served.sizes["a.txt"] = 6 * 10**17
    with pytest.raises(PromptpoolError, match=r"models\.small and 1 more: 1200000000\.0 GB are to be downloaded"):
        hub_lock.pin_snapshots(str(results), {snapshot_id(one): (one, WANTED_BY) for one in wanted})


def test_a_snapshot_that_the_lock_lacks_is_told(results):
    marker = hub.marker_path(str(results), snapshot_id(need()))
    with pytest.raises(PromptpoolError, match=r"hub\.lock\.json: has no commit for models\.small"):
        hub_fetch.fetch_snapshot(marker, WANTED_BY)


# --- what is fetched --------------------------------------------------------------------------------


def test_a_model_is_fetched_in_one_format(served, results):
    served.commit("model", "owner/small", {**MODEL_FILES, "original/consolidated.00.pth": b"w", "model.gguf": b"w"})
    fetched(results, need())
    assert sorted(served.fetched()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["config.json", "pytorch_model.bin"], ["config.json", "pytorch_model.bin"]),
        (
            ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json"],
            ["model-00001-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["model.safetensors", "2_Dense/pytorch_model.bin"], ["model.safetensors", "2_Dense/pytorch_model.bin"]),
        (["1_Pooling/config.json", "onnx/model.onnx", "onnx/config.json"], ["1_Pooling/config.json"]),
    ],
)
def test_the_files_of_a_model(names, kept):
    assert list(hub_lock.wanted_files(MODEL, dict.fromkeys(names, 1))) == kept


def test_one_file_of_a_data_set_is_fetched_alone(served, results):
    served.commit("dataset", "owner/data", {"wanted [1].txt": b"a", "other.csv": b"b"})
    wanted = need("owner/data", repo_type="dataset", file="wanted*.txt")
    marker = fetched(results, wanted)
    assert served.fetched() == ["wanted [1].txt"]
    assert list(hub.held(marker)["files"]) == ["wanted [1].txt"]


def test_a_second_run_fetches_nothing(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    fetched(results, need())
    before = len(served.fetched())
    fetched(results, need())
    assert len(served.fetched()) == before


def test_a_connection_that_breaks_is_taken_up_where_it_broke(served, results, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what is written at once
    served.commit("model", "owner/small", {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000})
    served.breaks["model.safetensors"] = 300_000
    entry = hub.held(fetched(results, need()))
    ranges = [asked for method, path, asked, _ in served.requests if method == "GET" and asked]
    assert ranges == ["bytes=300000-"]
    assert (hub.snapshot_folder(entry) / "model.safetensors").read_bytes() == bytes(range(256)) * 4000


def test_a_killed_fetch_goes_on_with_the_files_that_lack(served, results):
    served.commit("dataset", "owner/data", {"a.jsonl": b"a" * 100, "b.jsonl": b"b" * 100})
    wanted = need("owner/data", repo_type="dataset")
    marker = fetched(results, wanted)
    lost = Path(hub.held(marker)["folder"], "b.jsonl")
    lost.resolve().unlink()
    lost.unlink()
    served.requests.clear()
    hub_fetch.prefetch([marker])
    assert served.fetched() == ["b.jsonl"]


def test_a_disk_too_small_is_told_before_anything_is_fetched(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    served.sizes["model.safetensors"] = 10**18
    told = refusal(results, need())
    assert "1000000000.0 GB are to be downloaded" in told and "HF_HOME" in told
    assert served.fetched() == []


# --- refusals ---------------------------------------------------------------------------------------


def test_a_gated_model_without_a_token(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    served.repositories["model", "owner/small"].gated = True
    told = refusal(results, need())
    assert told.startswith("models.small: owner/small is gated, and no token is set")
    assert f"{served.url}/owner/small" in told and served.fetched() == []


def test_a_gated_model_with_a_token_that_has_no_access(served, results, monkeypatch):
    served.commit("model", "owner/small", MODEL_FILES)
    served.repositories["model", "owner/small"].gated = True
    served.tokens.add("hf_mine")
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert "the token in use has no access yet" in refusal(results, need())


def test_a_gated_model_with_access_is_fetched(served, results, monkeypatch):
    served.commit("model", "owner/small", MODEL_FILES)
    repository = served.repositories["model", "owner/small"]
    repository.gated, repository.allowed = True, {"hf_mine"}
    served.tokens.add("hf_mine")
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert hub.held(fetched(results, need()))["repo"] == "owner/small"


def test_a_token_that_the_hub_does_not_know(served, results, monkeypatch):
    served.commit("model", "owner/small", MODEL_FILES)
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    told = refusal(results, need())
    assert "refuses the token" in told and "401" in told and "hf_old" not in told


def test_a_revision_that_is_not_there(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    for revision in ("v9", "f" * 40):
        assert f"owner/small has no revision {revision!r}" in refusal(results, need(revision=revision))


def test_a_repository_that_is_not_there(served, results):
    told = refusal(results, need("owner/absent", repo_type="dataset"))
    assert told.startswith("models.small:") and "no data set 'owner/absent'" in told and "private" in told


def test_no_network(served, results):
    served.stop()
    told = refusal(results, need())
    assert told.startswith(f"models.small: {served.url} can't be reached for owner/small")


def test_switched_off_on_purpose_and_not_cached(served, results, monkeypatch):
    served.commit("model", "owner/small", MODEL_FILES)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    told = refusal(results, need())
    assert "HF_HUB_OFFLINE is set" in told and "owner/small" in told


def test_no_id_of_the_hub(served, results):
    assert "'a b/c' is not an id of the hub" in refusal(results, need("a b/c"))


def test_a_model_without_a_config(served, results):
    served.commit("model", "owner/small", {"README.md": b"hello"})
    assert "holds no config.json" in refusal(results, need())


def test_a_file_that_the_data_set_lacks_is_told_with_those_it_has(served, results):
    served.commit("dataset", "owner/data", {"a.csv": b"a", "b.csv": b"b"})
    told = refusal(results, need("owner/data", repo_type="dataset", file="c.csv"))
    assert "has no file 'c.csv'" in told and "a.csv, b.csv" in told


def test_a_mirror_that_answers_with_another_commit_is_found_out(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    served.claims = "b" * 40
    told = refusal(results, need())
    assert "owner/small was asked for at" in told and "was not delivered" in told


# --- use --------------------------------------------------------------------------------------------


def test_another_revision_in_the_cache_is_not_used(served, results):
    first = served.commit("model", "owner/small", MODEL_FILES)
    marker = fetched(results, need())
    other = served.commit("model", "owner/small", changed(b'{"moved": 1}'))
    fetched(results.with_name("other"), need())  # the same cache now holds both, and its ref names the newer
    assert hub.pinned({"model": "owner/small", "revision": "main"}, marker)["revision"] == first
    for path in hub.snapshot_folder(hub.held(marker)).iterdir():
        path.unlink()
    with pytest.raises(PromptpoolError) as caught:
        hub.held(marker)
    assert first in str(caught.value) and other not in str(caught.value) and "prefetch" in str(caught.value)


def test_a_file_cut_short_in_the_cache_is_not_used(served, results):
    served.commit("model", "owner/small", MODEL_FILES)
    marker = fetched(results, need())
    (hub.snapshot_folder(hub.held(marker)) / "model.safetensors").resolve().write_bytes(b"w")
    with pytest.raises(PromptpoolError, match=r"incomplete in .* no model\.safetensors"):
        hub.held(marker)


def test_a_lock_edited_by_hand_is_not_overruled_in_silence(served, results):
    old = served.commit("model", "owner/small", MODEL_FILES)
    served.commit("model", "owner/small", changed(b'{"new": 1}'))
    marker = fetched(results, need())
    lock = json.loads((results / hub.LOCK).read_text())
    lock[snapshot_id(need())]["commit"] = old
    (results / hub.LOCK).write_text(json.dumps(lock))
    with pytest.raises(PromptpoolError, match=f"remove {results}/hub and run again"):
        hub.held(marker)


def test_a_local_model_needs_no_marker():
    params = {"model": "./model", "revision": None, "dtype": "float32"}
    assert hub.pinned(params, "") == params


def test_a_sidecar_is_told_the_commit(served, results):
    commit = served.commit("dataset", "owner/data", {"test.jsonl": b"{}"})
    marker = fetched(results, need("owner/data", repo_type="dataset"))
    assert hub.commits({"snapshot": [marker]}) == {"owner/data": commit}
    assert hub.commits({"source": "file"}) == {}
