"""The embeddings stage: what it writes, what it keeps, what it resumes where a kill left it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from promptpool.embedding import embedder as engine
from promptpool.embedding.embed_checkpoint import embed_checkpoint
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.parallel_embedder import Grid, ParallelEmbedder
from promptpool.embedding.text_lengths import MeasuredComposer
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
        "out": str(tmp_path / "all.json"), "checkpoint": Checkpoint(model, device="cpu", dtype="float32"),
        "texts": {"task": str(tmp_path / "texts.parquet")}, "families": {"this": PROMPTS}, "grid": Grid(**SPEC),
    }  # fmt: skip


def vectors(job: dict, task: str = "task", family: str = "this") -> Path:
    return Path(job["out"]).parent / task / f"{family}.safetensors"


def sidecar(path: str | Path) -> dict:
    return json.loads(Path(f"{path}.meta.json").read_text())


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
    embed_checkpoint(**job)
    assert_same(vectors(job), wanted)
    facts = sidecar(vectors(job))
    assert facts["layer_numbers"] == {"-1": 2, "0.5": 1}
    assert facts["tokens"] > 0 and facts["texts"] == len(MANY) and facts["one_pass"] is True


def dies_after(monkeypatch, writes: int) -> list[range]:
    """Lets so many chunks be written, and raises at the next one. Returns the list of what was written."""
    written, write = [], VectorFile.write

    def dying(self, rows, vectors):
        if len(written) == writes:
            raise KeyboardInterrupt
        written.append(rows)
        write(self, rows, vectors)

    monkeypatch.setattr(VectorFile, "write", dying)
    return written


def test_a_killed_job_embeds_only_what_is_missing(job, wanted, monkeypatch):
    write = VectorFile.write
    written = dies_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        embed_checkpoint(**job)
    assert not Path(job["out"]).exists() and not vectors(job).exists()
    rest = []
    monkeypatch.setattr(VectorFile, "write", lambda self, rows, v: (rest.append(rows), write(self, rows, v)))
    embed_checkpoint(**job)
    assert [*written, *rest] == [range(0, 128), range(128, 256), range(256, 360)]
    assert_same(vectors(job), wanted)


@pytest.mark.parametrize(
    "change",
    [
        {"grid": Grid(**SPEC | {"max_text_tokens": 4})},
        {"families": {"this": {"eol": 'That: "{text}" means'}}},
        {"code": "other"},
    ],
    ids=str,
)
def test_a_changed_job_starts_anew(job, change, monkeypatch):
    write = VectorFile.write
    dies_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        embed_checkpoint(**job)
    rest = []
    monkeypatch.setattr(VectorFile, "write", lambda self, rows, v: (rest.append(rows), write(self, rows, v)))
    embed_checkpoint(**job | change)
    assert len(rest) == 3


def test_two_processes_write_what_one_does(job, wanted):
    embed_checkpoint(**job, workers=2)
    assert_same(vectors(job), wanted)
    facts = sidecar(vectors(job))
    assert facts["workers"] == 2
    plain = Embedder.load(job["checkpoint"].model, device="cpu", max_text_tokens=16)
    assert facts["text_lengths"] == MeasuredComposer(plain.composer).facts(MANY)


def test_half_precision_and_joint_tokenization_are_told_in_the_sidecar(job):
    embed_checkpoint(**job | {"grid": Grid(**SPEC | {"poolings": ["mean"]}, storage="float16", tokenization="joint")})
    facts = sidecar(vectors(job))
    assert facts["exportable"] is False and facts["spec"]["storage"] == "float16"
    assert set(read_vectors(vectors(job))) == {
        (prompt, "mean", layer) for prompt in PROMPTS for layer in SPEC["layers"]
    }


# --- what is kept ------------------------------------------------------------------------------------


def made(job: dict, **changes: object) -> tuple[list[str], list[str]]:
    """What the job computed and kept, after its own words."""
    embed_checkpoint(**job | changes)
    told = sidecar(job["out"])
    return told["computed"], told["kept"]


@pytest.fixture
def loads(monkeypatch) -> list:
    """The loaded models."""
    found, load = [], Embedder.load
    monkeypatch.setattr(Embedder, "load", lambda *a, **k: found.append(a) or load(*a, **k))
    return found


@pytest.fixture
def embedded(monkeypatch) -> list[str]:
    """The texts that went through the model."""
    found, chunks = [], Embedder.chunks
    monkeypatch.setattr(
        Embedder, "chunks", lambda self, texts, *a, **k: found.extend(texts) or chunks(self, texts, *a, **k)
    )
    return found


def test_a_second_run_computes_nothing_and_loads_nothing(job, loads):
    assert made(job) == (["task/this.safetensors"], [])
    before = Path(job["out"]).read_bytes()
    assert made(job) == ([], ["task/this.safetensors"])
    assert len(loads) == 1 and Path(job["out"]).read_bytes() == before


def test_a_new_family_is_computed_alone(job, loads):
    made(job)
    both = {**job["families"], "what": {"ask": 'What is "{text}"?'}}
    assert made(job, families=both) == (["task/what.safetensors"], ["task/this.safetensors"])
    assert len(loads) == 2


def test_a_new_tasks_new_texts_are_embedded_alone(job, wanted, tmp_path, embedded):
    made(job)
    embedded.clear()
    mixed = [*MANY[10:200], *(f"new {text}" for text in MANY[:70]), *reversed(MANY[200:330])]
    pd.DataFrame({"text": mixed}).to_parquet(tmp_path / "more.parquet")
    texts = {"another": str(tmp_path / "more.parquet"), **job["texts"]}
    assert made(job, texts=texts) == (["another/this.safetensors"], ["task/this.safetensors"])
    assert embedded == [text for text in mixed if text.startswith("new ")]
    assert sidecar(vectors(job, "another"))["texts_copied"] == 320
    found, old = read_vectors(vectors(job, "another")), read_vectors(vectors(job))
    place = {text: row for row, text in enumerate(MANY)}
    for key in wanted:
        for row, text in enumerate(mixed):
            if text in place:
                np.testing.assert_array_equal(found[key][row], old[key][place[text]])
    fresh = Embedder.load(job["checkpoint"].model, device="cpu", dtype="float32", max_text_tokens=16)
    assert_same(vectors(job, "another"), fresh.grid(mixed, PROMPTS, SPEC["poolings"], SPEC["layers"]))


def test_tasks_that_share_texts_embed_each_once(job, wanted, tmp_path, embedded):
    pd.DataFrame({"text": MANY[::-1]}).to_parquet(tmp_path / "turned.parquet")
    made(job, texts={**job["texts"], "turned": str(tmp_path / "turned.parquet")})
    assert sorted(embedded) == sorted(MANY)
    assert_same(vectors(job, "turned"), {key: matrix[::-1] for key, matrix in wanted.items()})


@pytest.mark.parametrize("damage", ["content", "sidecar", "both gone", "sidecar gone"])
def test_a_damaged_file_is_computed_again(job, wanted, damage):
    made(job)
    path = vectors(job)
    if damage == "content":
        path.write_bytes(path.read_bytes()[:-4] + b"what")
    if damage == "sidecar":
        Path(f"{path}.meta.json").write_text("{}")
    if damage == "both gone":
        path.unlink()
    if damage.endswith("gone"):
        Path(f"{path}.meta.json").unlink()
    assert made(job) == (["task/this.safetensors"], [])
    assert_same(path, wanted)


def test_an_ensemble_needs_no_model_if_its_prompts_are_there(job, loads):
    made(job)
    together = {"both": ["eol", "cluster"]}
    assert made(job, ensembles=together) == (["task/ensemble-both.safetensors"], ["task/this.safetensors"])
    assert len(loads) == 1
    found, parts = read_vectors(vectors(job, family="ensemble-both")), read_vectors(vectors(job))
    np.testing.assert_allclose(
        found["both", "mean", -1], (parts["eol", "mean", -1] + parts["cluster", "mean", -1]) / 2, atol=1e-6
    )
    assert made(job, ensembles=together)[0] == []


def test_another_checkout_takes_the_files_from_the_cache(job, loads, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    made(job)
    other = job | {"out": str(tmp_path / "other/all.json")}
    assert made(other) == ([], ["task/this.safetensors"]) and len(loads) == 1
    assert vectors(other).samefile(vectors(job))
    assert sidecar(vectors(other))["artifact"] == str(vectors(other))
    (stored,) = (tmp_path / "cache").glob("*.safetensors")
    stored.unlink()
    stored.write_bytes(b"damaged")
    third = job | {"out": str(tmp_path / "third/all.json")}
    assert made(third) == (["task/this.safetensors"], [])


def test_a_killed_copy_goes_on_where_it_was(job, wanted, tmp_path, monkeypatch):
    made(job)
    pd.DataFrame({"text": [*MANY[::-1], "one more"]}).to_parquet(tmp_path / "more.parquet")
    texts = {**job["texts"], "more": str(tmp_path / "more.parquet")}
    write = VectorFile.write
    count = dies_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        made(job, texts=texts)
    monkeypatch.setattr(VectorFile, "write", lambda self, rows, v: (count.append(rows), write(self, rows, v)))
    made(job, texts=texts)
    assert count == [range(0, 1), range(1, 129), range(129, 257), range(257, 361)]
    found = read_vectors(vectors(job, "more"))
    np.testing.assert_allclose(found["eol", "mean", -1][:-1], wanted["eol", "mean", -1][::-1], rtol=1e-4, atol=1e-5)


def test_a_process_of_a_killed_job_ends(job):
    import multiprocessing
    import os
    import signal
    import time

    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    victim = context.Process(target=opens_a_process, args=(queue, job["checkpoint"], job["grid"]))
    victim.start()
    child = queue.get(timeout=120)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    for _ in range(100):
        try:
            os.kill(child, 0)
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} is still there")


def opens_a_process(queue, checkpoint, grid) -> None:
    import os
    import time

    parallel = ParallelEmbedder(checkpoint, grid, workers=2)
    ((process, _, _),) = parallel._shares(1)
    queue.put(process.submit(os.getpid).result())
    time.sleep(600)
