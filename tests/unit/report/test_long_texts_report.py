"""The report's section on long texts: what the sidecars behind the page count, in rows and warnings."""

import json
from pathlib import Path

import pytest
from promptpool.artifacts.files import write_json, write_sidecar
from promptpool.embedding.text_lengths import LENGTHS, chunk_facts, cut_facts
from promptpool.report.long_texts import long_texts_section
from sample_report import build

SHORT, FEW, MANY = cut_facts([3, 4], 8), cut_facts([10] * 4 + [3] * 96, 8), cut_facts([32] * 5 + [3] * 5, 8)


def artifact(path: Path, inputs: list[Path] = (), **facts: object) -> Path:
    write_json(path, {"files": facts.pop("files", {}), "folder": "x"})
    write_sidecar(path, inputs=list(inputs), **facts)
    return path


@pytest.fixture
def behind(tmp_path) -> Path:
    """A table of scores, with a checkpoint, a baseline, an adapter and held-out pairs behind it."""
    chunks = chunk_facts("mean", 2, 8, [3, 20], [[3], [8, 8, 6]])
    tasks = {"Topics": MANY, "Whole": chunks, "_fitting": SHORT, "Some": FEW}
    vectors = artifact(tmp_path / "embeddings/small/base/all.json", **{LENGTHS: tasks})
    one = artifact(tmp_path / "embeddings/small/base/Topics/none.safetensors", **{LENGTHS: MANY})  # counted above
    baseline = artifact(tmp_path / "embeddings/baselines/e5.json", files={"e5/Topics.safetensors": "digest"})
    artifact(tmp_path / "embeddings/baselines/e5/Topics.safetensors", **{LENGTHS: MANY | {"at": 16}})
    pairs = {"anchors": SHORT, "positives": MANY}
    adapter = artifact(tmp_path / "adapters/tuned", **{LENGTHS: pairs})
    held = artifact(tmp_path / "verdict/base/vectors.json", **{LENGTHS: {"held-out": FEW}})
    return artifact(tmp_path / "scores.parquet", [vectors, one, baseline, adapter, held])


def test_each_set_of_texts_has_a_row_and_if_need_be_a_warning(behind):
    found = long_texts_section([behind])
    assert [row["what"] for row in found["rows"]] == [
        "adapter tuned: positives", "task Some, model small", "task Topics, baseline e5", "task Topics, model small",
        "task Whole, model small", "the verdict's held-out pairs, base",
    ]  # fmt: skip
    assert found["whole"] == 2
    assert [line.partition(":")[0] for line in found["warnings"]] == [
        "adapter tuned", "task Topics, baseline e5", "task Topics, model small"
    ]  # fmt: skip
    row = found["rows"][3]
    assert (row["texts"], row["long"], row["share"], row["at"]) == (10, 5, "50 %", 8)
    assert (row["lost"], row["median"], row["largest"], row["chunks"]) == ("69 %", "75 %", "75 %", None)
    whole = found["rows"][4]
    assert (whole["how"], whole["chunks"], whole["lost"]) == ("mean", 4, "none")


def test_every_seed_has_its_own_held_out_pairs(tmp_path):
    held = [
        artifact(tmp_path / f"verdict/{name}/vectors.json", **{LENGTHS: {"held-out": facts}})
        for name, facts in (("tuned", FEW), ("tuned~1", MANY), ("base", SHORT))
    ]
    tasks = [
        artifact(tmp_path / f"embeddings/small/{name}/all.json", **{LENGTHS: {"Topics": MANY}})
        for name in ("base", "tuned@2")
    ]
    found = long_texts_section([artifact(tmp_path / "scores.parquet", [*held, *tasks])])
    assert [(row["what"], row["long"]) for row in found["rows"]] == [
        ("task Topics, model small", 5), ("the verdict's held-out pairs, tuned", 4),
        ("the verdict's held-out pairs, tuned~1", 5),
    ]  # fmt: skip
    assert found["whole"] == 1


def test_nothing_is_said_where_nothing_was_counted_or_cut(tmp_path):
    assert long_texts_section([artifact(tmp_path / "scores.parquet")]) is None
    vectors = artifact(tmp_path / "embeddings/small/base/all.json", **{LENGTHS: {"Topics": SHORT}})
    found = long_texts_section([artifact(tmp_path / "scores.parquet", [vectors])])
    assert found["rows"] == found["warnings"] == [] and found["whole"] == 1


def test_the_page_shows_the_section(behind, tmp_path):
    page = build(tmp_path / "page")
    assert "Long texts" not in page.read_text(encoding="utf-8")
    sidecar = json.loads(Path(f"{behind}.meta.json").read_text())
    write_sidecar(tmp_path / "page/scores.parquet", inputs=sidecar["inputs"])
    text = build(tmp_path / "page").read_text(encoding="utf-8")
    assert 'href="#long-texts"' in text and "task Topics, model small: 50 % of the texts are cut" in text
    assert text.count("task Some, model small") == 1  # a row, and no sentence that says the same
    assert "mean, 4 chunks in all" in text and "2 other sets of texts are read whole." in text
