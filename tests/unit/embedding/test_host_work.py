"""What the host does around the forward pass: memory used again, vectors written beside, a writer that fails."""

import threading

import numpy as np
import pytest
from promptpool.embedding.buffers import Buffers
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.vector_file import VectorFile, read_vectors, written_behind
from tiny import TEXTS, tiny_model

PROMPTS = {"none": "{text}", "eol": 'This sentence: "{text}" means in one word:'}
KEY = ("none", "mean", -1)


def test_memory_is_lent_again_only_when_nobody_holds_a_view_of_it():
    buffers = Buffers()
    first = buffers.lend((4, 3))
    address = first.ctypes.data
    view = first[1:, :1].reshape(-1)
    del first
    second = buffers.lend((4, 3))
    assert second.ctypes.data != address
    del view
    assert buffers.lend((2, 2)).ctypes.data == address


def test_memory_that_nobody_holds_does_not_pile_up():
    buffers = Buffers(most=2)
    for size in range(1, 20):
        buffers.lend((size, 100))
    assert len(buffers._known) <= 3


def test_chunks_that_are_kept_are_not_overwritten(tmp_path):
    engine = Embedder.load(str(tiny_model(tmp_path / "model")), device="cpu")
    texts = [f"{text} {number}" for number in range(6) for text in TEXTS]
    wanted = engine.grid(texts, PROMPTS, ["mean", "concat", "last"], [-1, 1])
    kept = list(engine.chunks(texts, PROMPTS, ["mean", "concat", "last"], [-1, 1], size=7))
    for key, matrix in wanted.items():
        np.testing.assert_allclose(np.concatenate([part[key] for _, part in kept]), matrix, rtol=0, atol=1e-5)


def matrices(rows: int) -> dict:
    return {KEY: np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)}


def file_of(folder, rows: int, dtype: str = "float32") -> VectorFile:
    return VectorFile(folder / "v.safetensors", folder / "scratch", "x", {KEY: 4}, rows, dtype)


def test_vectors_are_written_by_another_thread_and_are_on_disk_at_the_end(tmp_path, monkeypatch):
    file, threads = file_of(tmp_path, 9), set()
    plain = VectorFile.write
    monkeypatch.setattr(
        VectorFile, "write", lambda self, *given: (threads.add(threading.get_ident()), plain(self, *given))[1]
    )
    whole = matrices(9)
    with written_behind(file) as write:
        for start in range(0, 9, 3):
            write(range(start, start + 3), {KEY: whole[KEY][start : start + 3]})
    file.finish()
    assert len(threads) == 1 and threading.get_ident() not in threads
    np.testing.assert_array_equal(read_vectors(tmp_path / "v.safetensors")[KEY], whole[KEY])


def test_a_write_that_fails_beside_ends_the_work(tmp_path):
    file, handed = file_of(tmp_path, 400, "float16"), 0
    with pytest.raises(Exception, match="beyond float16"), written_behind(file) as write:
        for start in range(0, 400, 4):
            write(range(start, start + 4), {KEY: np.full((4, 4), 1e30, dtype=np.float32)})
            handed += 1
    assert handed < 100 and not file.finished


def test_what_was_read_from_a_view_is_what_a_plain_matrix_gives(tmp_path):
    wide = np.random.default_rng(0).random((5, 12), dtype=np.float32)
    file = file_of(tmp_path, 5)
    file.write(range(5), {KEY: wide[:, 2:10:2]})
    again = file_of(tmp_path, 5)
    assert again.has(range(5))  # its checksum is that of what lies on disk
    again.finish()
    np.testing.assert_array_equal(read_vectors(tmp_path / "v.safetensors")[KEY], wide[:, 2:10:2])
