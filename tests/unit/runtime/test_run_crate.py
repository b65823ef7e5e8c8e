"""`promptpool crate`: a run as the library `rocrate` reads it, with every digest, job and input."""

import json
import sys
from pathlib import Path

import pytest
from promptpool.artifacts.files import file_digest, sidecar_path, write_sidecar
from promptpool.cli.command import main


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """The results of three jobs: a table from a user's file, a directory from it, and a text from both."""
    monkeypatch.chdir(tmp_path)
    Path("private/place").mkdir(parents=True)
    Path("private/place/mine.csv").write_text("text\na\n")
    Path("study.yaml").write_text("run: tiny\n")
    results = Path("results/tiny")
    (results / "models/out").mkdir(parents=True)
    (results / "scores.parquet").write_bytes(b"scores")
    (results / "models/out/config.json").write_text("{}")
    (results / "summary.txt").write_text("good\n")
    write_sidecar(results / "scores.parquet", inputs=["private/place/mine.csv"], started=0.0)
    write_sidecar(results / "models/out", inputs=[results / "scores.parquet"])
    write_sidecar(results / "summary.txt", inputs=[results / "scores.parquet", results / "models/out/config.json"])
    return results


def test_without_the_library_one_line_says_what_to_install(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocrate.model", None)
    monkeypatch.setitem(sys.modules, "rocrate", None)
    assert main(["crate"]) == 2 and "pip install 'promptpool[crate]'" in capsys.readouterr().err


def test_a_run_is_a_crate_that_the_library_reads(run, capsys):
    rocrate = pytest.importorskip("rocrate.rocrate")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["crate", "--licence", "CC-BY-4.0"]) == 0
    assert f"Wrote {run / 'ro-crate-metadata.json'}" in capsys.readouterr().out
    assert all(path.read_bytes() == content for path, content in before.items())
    crate = rocrate.ROCrate(run)
    entities = {entity.id: entity for entity in crate.get_entities()}
    assert entities["scores.parquet"]["sha256"] == file_digest(run / "scores.parquet")
    assert entities["models/out/"]["sha256"] == file_digest(run / "models/out")
    jobs = {entity["result"].id: entity for entity in entities.values() if entity.type == "CreateAction"}
    assert set(jobs) == {"scores.parquet", "models/out/", "summary.txt"}
    assert {one.id for one in jobs["summary.txt"]["object"]} == {"scores.parquet", "models/out/"}
    (given,) = [jobs["scores.parquet"]["object"]]
    assert given["name"] == "mine.csv" and given["sha256"] == file_digest("private/place/mine.csv")
    assert jobs["scores.parquet"]["instrument"]["name"] == "promptpool"
    assert crate.root_dataset["license"]["name"] == "CC-BY-4.0"
    text = (run / "ro-crate-metadata.json").read_text()
    assert "private" not in text and str(Path.cwd()) not in text and "study.yaml" in text


def test_an_artifact_with_a_damaged_sidecar_is_left_out(run):
    rocrate = pytest.importorskip("rocrate.rocrate")
    path = sidecar_path(run / "summary.txt")
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "0" * 64}))
    assert main(["crate"]) == 0
    assert "summary.txt" not in {entity.id for entity in rocrate.ROCrate(run).get_entities()}


def test_a_run_without_artifacts_is_one_line(run, capsys):
    pytest.importorskip("rocrate.rocrate")
    for path in run.rglob("*.meta.json"):
        path.unlink()
    assert main(["crate"]) == 2 and "holds no artifact with a sidecar" in capsys.readouterr().err
