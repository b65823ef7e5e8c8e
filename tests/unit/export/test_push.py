"""`promptpool push` against a hub on loopback: broken connections, refusals, taken names, licences, no token shown."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http
from promptpool.artifacts.files import file_digest
from promptpool.cli.command import main
from promptpool.export import push_export as pushing
from promptpool.export.contents import CONTENTS, read_contents, write_contents
from promptpool.export.share_licence import verdicts
from upload_hub import TOKEN, Taken, UploadHub, upload_hub

REPO = "owner/name"


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[UploadHub]:
    """A hub, its token, and the client's transport over LFS."""
    with upload_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(pushing, "FIRST_PAUSE", 0.01)
        hurried = {**vars(time), "sleep": lambda seconds: time.sleep(seconds / 100)}  # the client's own pauses
        monkeypatch.setattr(_http, "time", SimpleNamespace(**hurried))
        for name in ("HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def written_again(folder: Path, licence: dict | None = None, **made_from: object) -> None:
    """Lists an export's files again, with another licence of its base."""
    known = read_contents(folder)
    (folder / CONTENTS).unlink()
    made = {**known["made_from"], **made_from}
    made["base_model"] = {**made["base_model"], "licence": {"license": "mit"} if licence is None else licence}
    write_contents(folder, {"name": known["name"], "made_from": made, "made_with": known["made_with"]})


@pytest.fixture
def small(exported, tmp_path) -> Path:
    folder = Path(shutil.copytree(exported, tmp_path / "small"))
    written_again(folder)
    return folder


@pytest.fixture
def large(small) -> Path:
    """An export of 50 MB, in two files."""
    (small / "model.safetensors").write_bytes(os.urandom(40_000_000))
    (small / "2_Dense").mkdir()
    (small / "2_Dense/model.safetensors").write_bytes(os.urandom(10_000_000))
    written_again(small)
    return small


def require_whole(hub: UploadHub, folder: Path) -> None:
    """The repository holds each file of the export as it is, and nothing else but its own."""
    held = dict(hub.repositories[REPO].files)
    del held[".gitattributes"]
    assert set(held) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name, one in held.items():
        path = folder / name
        assert one == (file_digest(path), path.stat().st_size) if isinstance(one, tuple) else one == path.read_bytes()


def test_a_push_is_private_and_one_commit(hub, small, capsys):
    assert main(["push", str(small), REPO]) == 0
    require_whole(hub, small)
    assert hub.repositories[REPO].private and len(hub.repositories[REPO].commits) == 1
    shown = capsys.readouterr()
    assert f"{hub.url}/{REPO}" in shown.out and "model.safetensors" in shown.out and "base model" in shown.out
    assert TOKEN not in shown.out + shown.err


def test_public_is_asked_for(hub, small):
    assert main(["push", str(small), REPO, "--public"]) == 0
    assert not hub.repositories[REPO].private


def test_a_dry_run_sends_nothing_and_prints_the_same_plan(hub, small, capsys):
    assert main(["push", str(small), REPO, "--dry-run"]) == 0
    assert hub.requests == []
    plan = capsys.readouterr().out.replace("Dry run: nothing was sent\n", "")
    assert main(["push", str(small), REPO]) == 0
    assert capsys.readouterr().out.startswith(plan)
    for said in ("license: none", "pipeline_tag: sentence-similarity", "library_name: sentence-transformers",
                 "base model model: mit: permits"):  # fmt: skip
        assert said in plan, said


@pytest.mark.parametrize("transport", ["lfs", "xet"])
@pytest.mark.parametrize("lost", [False, True], ids=["cut", "answer lost"])
def test_fifty_megabytes_arrive_whole_where_every_third_connection_is_dropped(hub, large, transport, lost, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", transport == "lfs")
    hub.drop_every, hub.lose_answers = 3, lost
    assert main(["push", str(large), REPO]) == 0
    assert hub.dropped >= 5
    require_whole(hub, large)
    sent = Counter(what for what in hub.acknowledged if what.startswith(("part", "file", "xorb")))
    assert sent and set(sent.values()) == {1}  # nothing twice that was acknowledged
    bodies = hub.parts if transport == "lfs" else hub.xorbs
    assert sum(map(len, bodies.values())) >= 50_000_000


@pytest.mark.parametrize("transport", ["lfs", "xet"])
def test_a_commit_whose_answer_is_lost_is_not_half_done(hub, small, transport, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", transport == "lfs")
    hub.lose_answers, hub.drop_next = True, ["POST .*/commit/", "POST .*/repos/create"]
    assert main(["push", str(small), REPO]) == 0
    assert hub.dropped == 2
    require_whole(hub, small)
    assert len(hub.repositories[REPO].commits) == 1


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(hub, small, capsys, monkeypatch):
    send = pushing.HfApi.preupload_lfs_files

    def meanwhile(api, *given, **named):
        hub.repositories[REPO].head, hub.repositories[REPO].files["other"] = "b" * 40, b"x"
        return send(api, *given, **named)

    monkeypatch.setattr(pushing.HfApi, "preupload_lfs_files", meanwhile)
    assert "somebody else changed owner/name meanwhile" in refusal(capsys, str(small), REPO)
    assert set(hub.repositories[REPO].files) == {".gitattributes", "other"}


def test_a_push_that_was_given_up_goes_on_where_it_ended(hub, large, capsys, monkeypatch):
    monkeypatch.setattr(pushing, "TRIES", 1)
    hub.drop_next = ["POST .*/commit/"]
    assert main(["push", str(large), REPO]) == 2
    error = capsys.readouterr().err
    assert "run the same command again: what was sent is kept" in error and TOKEN not in error
    assert hub.repositories[REPO].commits == []
    sent = list(hub.acknowledged)
    assert main(["push", str(large), REPO]) == 0
    require_whole(hub, large)
    assert not [what for what in hub.acknowledged[len(sent) :] if what.startswith(("part", "file"))]


def test_a_second_push_of_the_same_sends_nothing(hub, small, capsys):
    assert main(["push", str(small), REPO]) == 0
    before = len(hub.acknowledged)
    assert main(["push", str(small), REPO]) == 0
    assert "already holds these files" in capsys.readouterr().out and len(hub.acknowledged) == before


def refusal(capsys, *given: str) -> str:
    assert main(["push", *given]) == 2
    shown = capsys.readouterr()
    *bars, line = shown.err.splitlines()
    assert line.startswith("Error: ") and not [bar for bar in bars if bar and "B/s" not in bar]
    assert TOKEN not in shown.out + shown.err and "hf_other" not in shown.out + shown.err
    return line


def test_a_token_that_is_refused_or_missing_is_one_line(hub, small, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_otherotherother")
    assert "refuses the token (401)" in refusal(capsys, str(small), REPO)
    monkeypatch.delenv("HF_TOKEN")
    assert "no token of the hub is set" in refusal(capsys, str(small), REPO)
    assert hub.repositories == {}


def test_another_owners_name_is_refused(hub, small, capsys):
    assert "may not write to other/name (403)" in refusal(capsys, str(small), "other/name")
    hub.repositories["other/name"] = Taken(files={".gitattributes": b""})  # which anyone can see
    assert "may not write to other/name (403)" in refusal(capsys, str(small), "other/name", "--public")


def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_updated(hub, small, capsys):
    hub.repositories[REPO] = Taken(
        private=True, files={".gitattributes": b"", "pytorch_model.bin": b"x", "config.json": b""}
    )
    assert "owner/name is taken: it holds 2 files" in refusal(capsys, str(small), REPO)
    assert hub.repositories[REPO].files["pytorch_model.bin"] == b"x"
    assert main(["push", str(small), REPO, "--update"]) == 0
    require_whole(hub, small)  # nothing is left of what was there


def test_a_name_that_cannot_be_seen_is_taken(hub, small, capsys):
    hub.repositories[REPO] = Taken(hidden=True)
    assert "is taken, and this token may not see it" in refusal(capsys, str(small), REPO)


def test_a_public_repository_gets_nothing_that_was_to_be_private(hub, small, capsys):
    hub.repositories[REPO] = Taken(private=False, files={".gitattributes": b""})
    assert "is public; give --public" in refusal(capsys, str(small), REPO)
    assert main(["push", str(small), REPO, "--public"]) == 0


@pytest.mark.parametrize("name", ["name", "a/b/c", "../up", "owner/", "owner/..", "https://hub/owner/name"])
def test_what_is_no_name_of_a_repository_is_refused(small, name, capsys):
    assert "write OWNER/NAME" in refusal(capsys, str(small), name)


def test_an_export_that_was_tampered_with_is_not_sent(hub, small, capsys):
    (small / "config.json").write_text("{}")
    assert "config.json: changed" in refusal(capsys, str(small), REPO)
    assert hub.requests == []


def test_a_hub_that_is_offline_or_gone_is_one_line(hub, small, capsys, monkeypatch):
    monkeypatch.setattr(pushing, "TRIES", 1)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 can't be reached" in refusal(capsys, str(small), REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set; unset it" in refusal(capsys, str(small), REPO)


# --- licences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("licence", "reason"),
    [({}, "none stated) is not known"), ({"license": "cc-by-nc-nd-4.0"}, "cc-by-nc-nd-4.0) forbids it"),
     ({"license": "other"}, "other) is not known"),
     ({"license": "other", "license_name": "mine"}, "mine) is not known")],
)  # fmt: skip
def test_a_licence_that_forbids_or_is_unknown_stops_a_push_unless_the_user_may(hub, small, licence, reason, capsys):
    written_again(small, licence)
    assert reason in refusal(capsys, str(small), REPO) and hub.requests == []
    assert reason in refusal(capsys, str(small), REPO, "--dry-run")
    assert main(["push", str(small), REPO, "--despite-licence"]) == 0


def said(small: Path, licence: dict | None = None, **made_from: object) -> dict[str, str]:
    written_again(small, licence, **made_from)
    return {verdict.what: verdict.says for verdict in verdicts(read_contents(small))}


@pytest.mark.parametrize(
    ("name", "says"),
    [("apache-2.0", "permits"), ("bsd-3-clause", "permits"), ("cc-by-4.0", "permits"),
     ("llama3.2", "permits, with terms"), ("gemma", "permits, with terms"), ("cc-by-nc-4.0", "permits, with terms"),
     ("cc-by-sa-4.0", "permits, with terms"), ("gpl-3.0", "permits, with terms"),
     ("openrail++", "permits, with terms"), ("cc-by-nd-4.0", "forbids"), ("unknown", "unknown"), ("other", "unknown"),
     ("gemma-research-only", "unknown"), ("mitten", "unknown")],
)  # fmt: skip
def test_what_a_licence_says(small, name, says):
    assert said(small, {"license": name}) == {"base model model": says}


def test_the_licences_of_data_and_of_others_adapters_count(small):
    hub = {"name": "web", "source": "hub", "licences": {"a/free": "cc0-1.0", "b/none": None}, "languages": []}
    docs = {
        "name": "docs",
        "source": "docstrings",
        "licences": {"numpy": "BSD-3-Clause AND MIT", "odd": None},
        "languages": [],
    }
    own = {"name": "mine", "source": "file", "files": {"a.csv": "0"}, "languages": []}
    adapter = {"name": "x", "step": 1, "sha256": "0", "taken_from": "c/lora", "commit": "1", "licence": {}}
    found = said(small, corpora=[hub, docs, own], adapter=adapter)
    assert found == {
        "base model model": "permits", "adapter c/lora": "unknown", "corpus web, data set a/free": "permits",
        "corpus web, data set b/none": "unknown", "corpus docs, package numpy": "permits",
        "corpus docs, package odd": "unknown", "corpus mine, your file": "yours",
    }  # fmt: skip


def test_the_plan_shows_every_score_of_the_card(small, capsys):
    card = (small / "README.md").read_text()
    entry = {"task": {"type": "t"}, "dataset": {"name": "T (default)", "type": "x", "split": "test"},
             "metrics": [{"type": "v_measure", "value": 0.5}]}  # fmt: skip
    head = {"license": "mit", "model-index": [{"name": "m", "results": [entry]}], "language": ["en", "de"]}
    (small / "README.md").write_text("---\n" + json.dumps(head) + "\n---\n" + card.split("---\n", 2)[2])
    written_again(small)
    assert main(["push", str(small), REPO, "-n"]) == 0
    plan = capsys.readouterr().out
    assert "T (default), test: v_measure 0.5000" in plan and "language: en, de" in plan and "license: mit" in plan
