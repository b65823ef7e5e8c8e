"""Texts that are longer than the limit: how many are cut is recorded, and chunks are embedded and combined instead."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from promptpool.embedding import embedder as engine
from promptpool.embedding.embed_checkpoint import embed_checkpoint
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.parallel_embedder import Grid
from promptpool.embedding.split_texts import split_texts
from promptpool.embedding.vector_file import VectorFile, read_vectors
from promptpool.models.checkpoint import Checkpoint
from tiny import TEXTS, tiny_model

MOST = 8
PROMPTS = {"eol": 'This: "{text}" means', "cluster": 'This: "{text}" belongs to'}
SPEC = {"poolings": ["mean", "last", "mean:text"], "layers": [-1, 1], "max_text_tokens": MOST}
KEYS = [(prompt, pooling, layer) for prompt in PROMPTS for pooling in SPEC["poolings"] for layer in SPEC["layers"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "qwen3"))


@pytest.fixture(scope="module")
def whole(model) -> Embedder:
    return Embedder.load(model, device="cpu", dtype="float32", max_text_tokens=MOST)


@pytest.fixture(scope="module")
def texts(whole) -> list[str]:
    """Of every length from 1 to 40 tokens: 32 of 40 are too long."""
    tokenizer, words = whole.composer.tokenizer, " ".join(TEXTS * 2)
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    found = [tokenizer.decode(ids[number : number + number]) for number in range(1, 41)]
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in found]
    assert lengths == list(range(1, 41))  # exactly known
    return found


@pytest.fixture
def job(tmp_path, model, texts) -> dict:
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "texts.parquet")
    return {
        "out": str(tmp_path / "all.json"), "checkpoint": Checkpoint(model, device="cpu", dtype="float32"),
        "texts": {"task": str(tmp_path / "texts.parquet")}, "families": {"this": PROMPTS}, "grid": Grid(**SPEC),
    }  # fmt: skip


def vectors(job: dict, task: str = "task", family: str = "this") -> Path:
    return Path(job["out"]).parent / task / f"{family}.safetensors"


def lengths(path: str | Path) -> dict:
    return json.loads(Path(f"{path}.meta.json").read_text())["text_lengths"]


def in_chunks(how: str, overlap: int = 0) -> dict:
    return {"long_texts": {"task": {"how": how, "overlap": overlap}}}


LOST = [1 - MOST / length for length in range(MOST + 1, 41)]
CUT = {
    "how": "cut", "at": MOST, "unit": "tokens", "texts": 40, "long": 32, "before": 820, "after": 36 + 32 * MOST,
    "median_lost": round(float(np.median(LOST)), 4), "largest_lost": 0.8,
}  # fmt: skip


def test_a_sidecar_says_what_was_cut(job):
    embed_checkpoint(**job, ensembles={"both": ["eol", "cluster"]})
    assert lengths(vectors(job)) == CUT and lengths(job["out"]) == {"task": CUT}
    assert lengths(vectors(job, family="ensemble-both")) == CUT


def test_a_job_that_keeps_resumes_or_copies_says_the_same(job, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "CHUNK_MOST", 1)
    monkeypatch.setattr(engine.Embedder, "chunk_size", lambda *_: 16)
    write, written = VectorFile.write, []

    def dies(self, rows, found):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows)
        write(self, rows, found)

    monkeypatch.setattr(VectorFile, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        embed_checkpoint(**job)
    monkeypatch.setattr(VectorFile, "write", write)
    embed_checkpoint(**job)
    facts = json.loads(Path(f"{vectors(job)}.meta.json").read_text())
    assert facts["texts_resumed"] == 32 and facts["text_lengths"] == CUT
    embed_checkpoint(**job)  # everything is kept, and no model is loaded
    assert lengths(job["out"]) == {"task": CUT}
    embed_checkpoint(**job | {"texts": {**job["texts"], "copy": job["texts"]["task"]}})
    assert json.loads(Path(f"{vectors(job, 'copy')}.meta.json").read_text())["texts_copied"] == 40
    assert lengths(job["out"]) == {"task": CUT, "copy": CUT}


def test_joint_tokenization_counts_the_same(job):
    embed_checkpoint(**job | {"grid": Grid(**SPEC | {"poolings": ["mean"]}, tokenization="joint")})
    assert lengths(vectors(job)) == CUT


@pytest.mark.parametrize("overlap", [0, 3])
def test_a_mean_weighs_the_chunks_by_their_tokens_and_leaves_short_texts(job, texts, whole, overlap):
    embed_checkpoint(**job)
    cut = dict(read_vectors(vectors(job)))
    embed_checkpoint(**job, **in_chunks("mean", overlap))
    found = read_vectors(vectors(job))
    split = split_texts(whole.composer, texts, overlap)
    assert max(map(len, split.pieces)) > 4 and max(count for own in split.tokens for count in own) <= MOST
    for key in KEYS:
        np.testing.assert_allclose(found[key][:MOST], cut[key][:MOST], rtol=1e-4, atol=1e-5)
        assert np.abs(found[key][MOST:] - cut[key][MOST:]).max(axis=1).min() > 1e-3
    for row in (10, 39):
        own = whole.grid(split.pieces[row], PROMPTS, SPEC["poolings"], SPEC["layers"])
        for key in KEYS:
            wanted = np.average(own[key], axis=0, weights=split.tokens[row])
            np.testing.assert_allclose(found[key][row], wanted, rtol=1e-4, atol=1e-5)
    facts = lengths(vectors(job))
    assert facts == lengths(job["out"])["task"] == lengths(vectors(job).with_name("chunks.parquet"))
    assert (facts["how"], facts["overlap"], facts["long"], facts["before"]) == ("mean", overlap, 32, 820)
    assert facts["chunks"] == sum(map(len, split.pieces)) and facts["after"] == sum(map(sum, split.tokens))
    assert facts["largest_lost"] == 0
    assert not list(vectors(job).parent.glob("*.pieces"))


def test_max_sim_keeps_a_row_for_each_chunk_and_a_table_of_them(job, texts, whole):
    embed_checkpoint(**job, **in_chunks("max-sim"))
    table = pd.read_parquet(vectors(job).with_name("chunks.parquet"))
    split = split_texts(whole.composer, texts)
    assert table["chunk"].tolist() == [piece for own in split.pieces for piece in own]
    assert table["text"].tolist() == [row for row, own in enumerate(split.pieces) for _ in own]
    wanted = whole.grid(table["chunk"].tolist(), PROMPTS, SPEC["poolings"], SPEC["layers"])
    found = read_vectors(vectors(job))
    for key in KEYS:
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-4, atol=1e-5)
    assert "task/chunks.parquet" in json.loads(Path(job["out"]).read_text())["files"]


@pytest.mark.parametrize("how", ["mean", "max-sim"])
def test_a_killed_job_embeds_only_the_chunks_that_are_missing(job, how, monkeypatch):
    monkeypatch.setattr(engine.Embedder, "chunk_size", lambda *_: 32)
    embed_checkpoint(**job, **in_chunks(how))
    wanted, content = dict(read_vectors(vectors(job))), Path(job["out"]).read_text()
    again = job | {"out": str(Path(job["out"]).parent / "again/all.json")}
    write, written = VectorFile.write, []

    def dies(self, rows, found):
        written.append((self.path.name, rows))
        if len(written) == 4:
            raise KeyboardInterrupt
        write(self, rows, found)

    monkeypatch.setattr(VectorFile, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        embed_checkpoint(**again, **in_chunks(how))
    before = set(written[:3])
    written.clear()
    monkeypatch.setattr(VectorFile, "write", lambda self, rows, found: (written.append((self.path.name, rows)),
                                                                       write(self, rows, found)))  # fmt: skip
    embed_checkpoint(**again, **in_chunks(how))
    assert written and not before & set(written)
    for key in KEYS:
        np.testing.assert_allclose(read_vectors(vectors(again))[key], wanted[key], rtol=1e-5, atol=1e-6)
    assert set(json.loads(Path(again["out"]).read_text())["files"]) == set(json.loads(content)["files"])
    loaded = []
    monkeypatch.setattr(Embedder, "load", lambda *a, **b: loaded.append(a))
    embed_checkpoint(**again, **in_chunks(how))
    assert not loaded and lengths(again["out"]) == lengths(job["out"])


def test_tasks_share_what_is_the_same_vector(job):
    tasks = {name: job["texts"]["task"] for name in ("cut", "mean", "also", "near", "search")}
    hows = {"mean": ("mean", 0), "also": ("mean", 0), "near": ("mean", 3), "search": ("max-sim", 0)}
    long_texts = {task: {"how": how, "overlap": overlap} for task, (how, overlap) in hows.items()}
    embed_checkpoint(**job | {"texts": tasks}, long_texts=long_texts)
    copied = {task: json.loads(Path(f"{vectors(job, task)}.meta.json").read_text())["texts_copied"] for task in tasks}
    assert copied["cut"] == 0 and copied["mean"] == copied["near"] == MOST  # the short ones
    assert copied["also"] == 40 and copied["search"] >= MOST


def test_another_overlap_or_way_is_another_file(job):
    made = set()
    for how, overlap in (("mean", 0), ("mean", 3), ("max-sim", 3)):
        embed_checkpoint(**job, **in_chunks(how, overlap))
        made.add(json.loads(Path(f"{vectors(job)}.meta.json").read_text())["made_of"])
    embed_checkpoint(**job)
    made.add(json.loads(Path(f"{vectors(job)}.meta.json").read_text())["made_of"])
    assert len(made) == 4 and "task/chunks.parquet" not in json.loads(Path(job["out"]).read_text())["files"]
