"""The embeddings stage: one file a family, resumed where a kill left it, the same from one process or two."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from promptpool.embedding import embedder as engine
from promptpool.embedding.embed_family import Grid, embed_family
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.vector_file import VectorFile, read_vectors
from promptpool.models.checkpoint import Checkpoint
from tiny import TEXTS, tiny_model

PROMPTS = {"eol": 'This: "{text}" means', "cluster": 'This: "{text}" belongs to'}
MANY = [f"{text} {number}" for number in range(60) for text in TEXTS]
SPEC = {"poolings": ["mean", "last:text"], "layers": [-1, 0.5], "max_text_tokens": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "qwen3"))


@pytest.fixture
def job(tmp_path, model, monkeypatch) -> dict:
    monkeypatch.setattr(engine, "CHUNK_MOST", 1)  # 128 texts a chunk
    pd.DataFrame({"text": MANY}).to_parquet(tmp_path / "texts.parquet")
    return {
        "out": str(tmp_path / "v.safetensors"), "checkpoint": Checkpoint(model, device="cpu", dtype="float32"),
        "texts": str(tmp_path / "texts.parquet"), "prompts": PROMPTS, "grid": Grid(**SPEC),
    }  # fmt: skip


@pytest.fixture(scope="module")
def wanted(model) -> dict:
    whole = Embedder.load(model, device="cpu", dtype="float32", max_text_tokens=16)
    return whole.grid(MANY, PROMPTS, SPEC["poolings"], SPEC["layers"])


def assert_same(path: str, wanted: dict) -> None:
    found = read_vectors(path)
    assert set(found) == set(wanted)
    for key, matrix in wanted.items():
        np.testing.assert_allclose(found[key], matrix, rtol=1e-4, atol=1e-5)


def test_the_file_holds_the_grid_in_the_order_of_the_texts(job, wanted):
    embed_family(**job)
    assert_same(job["out"], wanted)
    facts = json.loads(Path(job["out"] + ".meta.json").read_text())
    assert facts["layer_numbers"] == {"-1": 2, "0.5": 1}
    assert facts["tokens"] > 0 and facts["texts"] == len(MANY) and facts["one_pass"] is True


def test_a_killed_job_embeds_only_what_is_missing(job, wanted, monkeypatch):
    written = []
    write = VectorFile.write

    def dying(self, rows, vectors):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows)
        write(self, rows, vectors)

    monkeypatch.setattr(VectorFile, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        embed_family(**job)
    assert not Path(job["out"]).exists()
    rest = []
    monkeypatch.setattr(VectorFile, "write", lambda self, rows, v: (rest.append(rows), write(self, rows, v)))
    embed_family(**job)
    assert [*written, *rest] == [range(0, 128), range(128, 256), range(256, 360)]
    assert_same(job["out"], wanted)


@pytest.mark.parametrize(
    "change",
    [{"grid": Grid(**SPEC | {"max_text_tokens": 4})}, {"prompts": {"eol": 'That: "{text}" means'}}, {"code": "other"}],
    ids=str,
)
def test_a_changed_job_starts_anew(job, change, monkeypatch):
    write = VectorFile.write

    def dying(self, rows, vectors):
        write(self, rows, vectors)
        raise KeyboardInterrupt

    monkeypatch.setattr(VectorFile, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        embed_family(**job)
    rest = []
    monkeypatch.setattr(VectorFile, "write", lambda self, rows, v: (rest.append(rows), write(self, rows, v)))
    embed_family(**job | change)
    assert len(rest) == 3


def test_two_processes_write_what_one_does(job, wanted):
    embed_family(**job, workers=2)
    assert_same(job["out"], wanted)
    assert json.loads(Path(job["out"] + ".meta.json").read_text())["workers"] == 2


def test_half_precision_and_joint_tokenization_are_told_in_the_sidecar(job):
    embed_family(**job | {"grid": Grid(**SPEC | {"poolings": ["mean"]}, storage="float16", tokenization="joint")})
    facts = json.loads(Path(job["out"] + ".meta.json").read_text())
    assert facts["exportable"] is False and facts["spec"]["storage"] == "float16"
    assert set(read_vectors(job["out"])) == {(prompt, "mean", layer) for prompt in PROMPTS for layer in SPEC["layers"]}
