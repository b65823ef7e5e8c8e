"""Artifacts: whole or not at all, digested, and with their provenance beside them."""

import errno
import json
import os
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from promptpool.artifacts.files import (
    atomic_path,
    file_digest,
    finished,
    pack_folder,
    package_versions,
    sidecar_path,
    text_digest,
    unpack_folder,
    write_json,
    write_sidecar,
)
from promptpool.errors import PromptpoolError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    with atomic_path(tmp_path / "deep" / "x.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "deep" / "x.txt").exists()
    assert (tmp_path / "deep" / "x.txt").read_text() == "whole"


def test_an_error_leaves_the_old_file_and_no_temporary(tmp_path):
    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "x.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


def test_an_error_leaves_the_old_directory_and_no_temporary(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "d") as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["old"]


def test_a_directory_replaces_a_directory_whole(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    with atomic_path(tmp_path / "d") as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["new"]


def test_what_a_killed_process_left_does_not_hinder_the_next(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "d") as temporary:
        raise KeyboardInterrupt
    temporary.mkdir()
    (temporary / "half").touch()
    with atomic_path(tmp_path / "d") as temporary:
        temporary.mkdir()
        (temporary / "whole").touch()
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["whole"]


def test_two_processes_do_not_write_into_each_other(tmp_path):
    code = (
        "import sys; from promptpool.artifacts.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary: temporary.write_text('theirs')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "workflow")}
    with atomic_path(tmp_path / "x") as mine:
        mine.write_text("mine")
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], env=environment, check=True, timeout=60)
        assert (tmp_path / "x").read_text() == "theirs" and mine.read_text() == "mine"
    assert names(tmp_path) == ["x"]


def test_a_temporary_keeps_the_suffix(tmp_path):
    # Writers choose their format by it.
    with atomic_path(tmp_path / "x.parquet") as temporary:
        temporary.touch()
        assert temporary.suffix == ".parquet" and temporary.parent == tmp_path


def test_text_digests_are_sha256_and_take_any_string():
    assert text_digest("abc").startswith("ba7816bf8f01cfea")
    assert text_digest("\ud800") != text_digest("\ud801")


def test_the_digest_of_a_directory_counts_names_and_contents(tmp_path):
    for folder, files in {"a": {"x": "1", "y/z": "2"}, "b": {"y/z": "2", "x": "1"}}.items():
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    first = file_digest(tmp_path / "a")
    assert first == file_digest(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "w")
    renamed = file_digest(tmp_path / "b")
    (tmp_path / "a" / "x").write_text("3")
    assert len({first, renamed, file_digest(tmp_path / "a")}) == 3


def test_the_digest_of_nothing_is_an_error(tmp_path):
    with pytest.raises(PromptpoolError, match="no such file"):
        file_digest(tmp_path / "absent")


def test_a_sidecar_tells_what_made_an_artifact(tmp_path):
    (tmp_path / "in.txt").write_text("in")
    (tmp_path / "out.parquet").write_text("out")
    before = datetime.now(UTC).replace(microsecond=0)
    write_sidecar(
        tmp_path / "out.parquet", inputs=[tmp_path / "in.txt"], spec={"b": 1, "a": [2]}, started=time.time() - 5,
        seed=7, device="cpu",
    )  # fmt: skip
    told = json.loads((tmp_path / "out.parquet.meta.json").read_text())
    assert told["digest"] == file_digest(tmp_path / "out.parquet")
    assert told["inputs"] == {str(tmp_path / "in.txt"): file_digest(tmp_path / "in.txt")}
    assert told["spec"] == {"a": [2], "b": 1}
    assert told["seed"] == 7 and told["device"] == "cpu"
    assert 5 <= told["seconds"] < 60
    assert datetime.fromisoformat(told["finished"]) >= before
    assert set(told["packages"]) >= {"torch", "transformers", "mteb"} and told["packages"]["torch"]
    assert "git_commit" in told and "python" in told


def test_a_sidecar_stands_beside_a_directory(tmp_path):
    assert sidecar_path(tmp_path / "step-3") == tmp_path / "step-3.meta.json"


def test_json_is_sorted_and_keeps_other_scripts_readable(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": "日本"})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "a": "日本",\n  "b": 1\n}\n'


def test_a_package_that_is_not_installed_has_no_version():
    assert package_versions(["no-such-package"]) == {"no-such-package": None}


def test_a_packed_directory_comes_back_the_same_and_equal_contents_pack_equally(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "step-2").mkdir(parents=True)
        (tmp_path / name / "step-2/weights").write_bytes(b"\0\1")
        (tmp_path / name / "curve").write_text("x")
    before = file_digest(tmp_path / "one")
    os.utime(tmp_path / "two/curve", (0, 0))
    for name in ("one", "two"):
        pack_folder(tmp_path / name, tmp_path / f"{name}.tar")
        assert not (tmp_path / name).exists()
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    unpack_folder(tmp_path / "one.tar", tmp_path / "back")
    assert file_digest(tmp_path / "back") == before


@pytest.mark.parametrize("new", [True, False])
def test_an_archive_is_unpacked_with_and_without_pythons_filters(tmp_path, monkeypatch, new):
    """Python 3.11.2, which Debian 12 has, knows no `filter`."""
    (tmp_path / "one/step-2").mkdir(parents=True)
    (tmp_path / "one/step-2/weights").write_bytes(b"\0\1")
    before = file_digest(tmp_path / "one")
    pack_folder(tmp_path / "one", tmp_path / "one.tar")
    if not new and hasattr(tarfile, "data_filter"):
        whole = tarfile.TarFile.extractall
        monkeypatch.delattr(tarfile, "data_filter")
        monkeypatch.setattr(tarfile.TarFile, "extractall", lambda self, path: whole(self, path, filter="fully_trusted"))
    unpack_folder(tmp_path / "one.tar", tmp_path / "back")
    assert file_digest(tmp_path / "back") == before


@pytest.mark.parametrize(
    ("name", "kind"), [("../out", tarfile.REGTYPE), ("/out", tarfile.REGTYPE), ("in", tarfile.SYMTYPE)]
)
def test_an_archive_of_another_hand_is_refused_by_name(tmp_path, name, kind):
    with tarfile.open(tmp_path / "one.tar", "w") as handle:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc"
        handle.addfile(entry)
    with pytest.raises(PromptpoolError, match=f"one.tar: damaged: it holds {name}; "):
        unpack_folder(tmp_path / "one.tar", tmp_path / "back")
    assert names(tmp_path) == ["one.tar"]


def test_a_sibling_that_cannot_be_read_is_not_told_as_one_that_cannot_be_written(tmp_path):
    archive = tmp_path / "tuned.tar"
    with pytest.raises(PermissionError) as caught, atomic_path(tmp_path / "tuned"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(archive))
    assert caught.value.filename == str(archive)
    for own in (tmp_path, tmp_path / "tuned"):
        with pytest.raises(PromptpoolError, match="tuned: cannot be written: "), atomic_path(tmp_path / "tuned"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(own))


def test_what_is_being_written_is_not_found_among_the_finished(tmp_path):
    for name in ("b.json", "a.json"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("{}")
    with atomic_path(tmp_path / "c.json") as temporary:
        temporary.write_text("{")
        assert temporary in [*tmp_path.glob("*.json")]
        assert finished(tmp_path, "*.json") == [tmp_path / "a.json", tmp_path / "b.json"]
    assert len(finished(tmp_path, "*.json")) == 3 and finished(tmp_path / "none", "*") == []
