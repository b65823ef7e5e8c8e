"""Embedding files: whole or not there, resumed where they were, read one matrix at a time."""

import numpy as np
import pytest
from promptpool.embedding.embed_ensemble import embed_ensemble
from promptpool.embedding.vector_file import VectorFile, read_vectors, stored_dtype, write_vectors
from promptpool.errors import PromptpoolError
from safetensors.numpy import load_file

DIMS = {("eol", "mean", -1): 4, ("eol", "mean:text", 0.5): 4, ("eol", "concat", 2): 8}
ROWS = 10


def matrices(rows: range, seed: int = 0) -> dict:
    whole = {key: np.random.default_rng(seed).normal(size=(ROWS, dim)).astype(np.float32) for key, dim in DIMS.items()}
    return {key: matrix[rows.start : rows.stop] for key, matrix in whole.items()}


def opened(folder, made_of: str = "this", dtype: str = "float32") -> VectorFile:
    return VectorFile(folder / "out.safetensors", folder / "scratch", made_of, DIMS, ROWS, dtype)


def test_chunks_in_any_order_make_the_file_that_safetensors_reads(tmp_path):
    file = opened(tmp_path)
    for rows in (range(6, 10), range(6)):
        file.write(rows, matrices(rows))
        assert not (tmp_path / "out.safetensors").exists()
    file.finish()
    found = load_file(tmp_path / "out.safetensors")
    assert set(found) == {"eol/mean/-1", "eol/mean:text/0.5", "eol/concat/2"}
    for (prompt, pooling, layer), matrix in matrices(range(ROWS)).items():
        np.testing.assert_array_equal(found[f"{prompt}/{pooling}/{layer}"], matrix)
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_keys_come_back_as_they_were(tmp_path):
    write_vectors(tmp_path / "v.safetensors", matrices(range(ROWS)))
    found = read_vectors(tmp_path / "v.safetensors")
    assert set(found) == set(DIMS) and len(found) == 3
    assert [type(layer) for _, _, layer in found] == [int, int, float]
    assert found.shape(("eol", "concat", 2)) == (ROWS, 8)


def test_a_killed_job_goes_on_after_its_last_finished_chunk(tmp_path):
    opened(tmp_path).write(range(6), matrices(range(6)))
    again = opened(tmp_path)
    assert again.has(range(6)) and not again.has(range(6, 10)) and again.rows_finished() == 6
    again.write(range(6, 10), matrices(range(6, 10)))
    again.finish()
    for key, matrix in matrices(range(ROWS)).items():
        np.testing.assert_array_equal(read_vectors(tmp_path / "out.safetensors")[key], matrix)


def test_a_file_with_rows_missing_is_not_put_in_place(tmp_path):
    file = opened(tmp_path)
    file.write(range(6), matrices(range(6)))
    with pytest.raises(ValueError, match="4 of 10 rows were never written"):
        file.finish()
    assert not (tmp_path / "out.safetensors").exists()


def test_what_something_else_made_is_not_taken_up(tmp_path):
    opened(tmp_path, "this").write(range(6), matrices(range(6)))
    assert not opened(tmp_path, "that").has(range(6))
    assert not opened(tmp_path, "this").has(range(6))  # the other job has removed it


def test_a_chunk_noted_by_half_is_not_taken_as_finished(tmp_path):
    file = opened(tmp_path)
    file.write(range(6), matrices(range(6)))
    file.journal.write_text(file.journal.read_text() + "6 1")  # the line break never came
    assert set(opened(tmp_path).finished) == {(0, 6)}


def test_a_file_cut_short_is_begun_again(tmp_path):
    file = opened(tmp_path)
    file.write(range(6), matrices(range(6)))
    file.file.write_bytes(file.file.read_bytes()[:50])
    assert opened(tmp_path).finished == {}


@pytest.mark.parametrize("place", [-1, -40, 200])
def test_a_chunk_whose_vectors_were_damaged_is_made_again(tmp_path, place):
    file = opened(tmp_path)
    for rows in (range(6), range(6, 10)):
        file.write(rows, matrices(rows))
    content = bytearray(file.file.read_bytes())
    place = place if place < 0 else file.start + place
    content[place] ^= 1
    file.file.write_bytes(content)
    again = opened(tmp_path)
    assert len(again.finished) == 1
    for rows in (range(6), range(6, 10)):
        if not again.has(rows):
            again.write(rows, matrices(rows))
    again.finish()
    for key, matrix in matrices(range(ROWS)).items():
        np.testing.assert_array_equal(read_vectors(tmp_path / "out.safetensors")[key], matrix)


@pytest.mark.parametrize("line", ["0 6", "0 6 7 8", "0 6 -1", "x y z", "0 99 1", "6 0 1", "\0\0\0", "0 6 12345"])
def test_a_damaged_journal_finishes_nothing(tmp_path, line):
    opened(tmp_path).journal.write_text(line + "\n")
    assert opened(tmp_path).finished == {}


def test_a_damaged_header_is_written_again(tmp_path):
    file = opened(tmp_path)
    file.write(range(6), matrices(range(6)))
    content = bytearray(file.file.read_bytes())
    content[20] ^= 1
    file.file.write_bytes(content)
    again = opened(tmp_path)
    assert again.has(range(6))
    again.write(range(6, 10), matrices(range(6, 10)))
    again.finish()
    assert set(read_vectors(tmp_path / "out.safetensors")) == set(DIMS)


def test_half_precision_is_stored_in_half_the_bytes_and_read_as_float32(tmp_path):
    for dtype in ("float32", "float16"):
        write_vectors(tmp_path / dtype, matrices(range(ROWS)), dtype)
    assert (tmp_path / "float16").stat().st_size < 0.7 * (tmp_path / "float32").stat().st_size
    for key, matrix in matrices(range(ROWS)).items():
        found = read_vectors(tmp_path / "float16")[key]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, matrix, rtol=1e-3, atol=1e-4)


def test_a_value_beyond_half_precision_is_an_error(tmp_path):
    with pytest.raises(PromptpoolError, match=r"eol/mean/-1: a value is beyond float16; set grid.storage: float32"):
        write_vectors(tmp_path / "v", {("eol", "mean", -1): np.full((2, 3), 1e6, dtype=np.float32)}, "float16")


def test_small_tasks_are_stored_in_full():
    assert stored_dtype("auto", 99_999) == "float32"
    assert stored_dtype("auto", 100_000) == "float16"
    assert stored_dtype("float32", 10**7) == "float32"


PROMPTED = {(prompt, "last", -1): np.full((3, 2), value, dtype=np.float32) for prompt, value in (("a", 1), ("b", 4))}


def test_an_ensemble_reads_the_files_of_several_families(tmp_path):
    for prompt in "ab":
        write_vectors(tmp_path / prompt, {key: rows for key, rows in PROMPTED.items() if key[0] == prompt})
    embed_ensemble(str(tmp_path / "out"), name="both", prompts=["a", "b"], files=[tmp_path / "a", tmp_path / "b"])
    assert list(read_vectors(tmp_path / "out")) == [("both", "last", -1)]
    np.testing.assert_array_equal(read_vectors(tmp_path / "out")["both", "last", -1], np.full((3, 2), 2.5))
    assert (tmp_path / "out.meta.json").exists()


def test_an_ensemble_names_the_prompt_that_is_not_there(tmp_path):
    write_vectors(tmp_path / "a", PROMPTED)
    with pytest.raises(PromptpoolError, match=r"ensembles.both: no vectors of prompt 'c'; add it to grid.prompts"):
        embed_ensemble(str(tmp_path / "out"), name="both", prompts=["a", "c"], files=[tmp_path / "a"])
    assert not (tmp_path / "out").exists()
