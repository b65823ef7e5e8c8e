"""Short and small vectors from stored ones: sentence-transformers' codes, sizes, names, and what a config may ask."""

import json

import numpy as np
import pytest
from promptpool.config.resolve import resolve
from promptpool.embedding.aggregation import Aggregation
from promptpool.embedding.post_processing import fit, read_statistics, write_statistics
from promptpool.embedding.short_vectors import byte_codes, bytes_a_text, shortened
from promptpool.export.check_parity import pipeline_vectors
from promptpool.export.saved_layout import save_modules
from promptpool.study.study import Study
from promptpool.variants import readout_name, short_vector, split_readout
from sample_config import ROOT, demo, told
from sentence_transformers.util import quantize_embeddings

KEY = ("none", "mean", -1)
FORMS = ["cut(4)", "int8", "binary", "cut(4)+int8", "cut(4)+binary"]


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(0.3, 1, (200, 10)).astype(np.float32)


@pytest.fixture
def fitting() -> np.ndarray:
    return np.random.default_rng(1).normal(0.3, 1, (300, 10)).astype(np.float32)


def test_codes_are_those_of_sentence_transformers(rows, fitting):
    known = fit(fitting)
    ranges = np.stack([fitting.min(0), fitting.max(0)])
    wanted = quantize_embeddings(rows, precision="uint8", ranges=ranges)
    assert (byte_codes(rows, known) == wanted).all()
    short = quantize_embeddings(rows[:, :4], precision="uint8", ranges=ranges[:, :4])
    assert (byte_codes(rows[:, :4], known) == short).all()
    bits = np.unpackbits(quantize_embeddings(rows, precision="ubinary"), axis=1)[:, :10]
    assert (shortened(rows, "binary", None) == 2.0 * bits - 1).all()


def test_what_is_read_back(rows, fitting):
    known = fit(fitting)
    inside = np.clip(rows, known.low, known.high)
    step = (known.high - known.low) / 255
    assert (np.abs(shortened(rows, "int8", known) - inside) <= step * 0.51).all()
    assert (shortened(rows, "cut(4)+int8", known) == shortened(rows, "int8", known)[:, :4]).all()
    assert (shortened(rows, "cut(4)", None) == rows[:, :4]).all()
    assert (shortened(rows, "cut(4)+binary", None) == np.sign(rows[:, :4])).all()
    assert all(shortened(rows, name, known).dtype == np.float32 for name in FORMS)


def test_a_dimension_without_a_range_keeps_its_value(rows):
    flat = np.full((30, 10), 0.25, np.float32)
    assert (shortened(rows, "int8", fit(flat)) == 0.25).all()


def test_ranges_are_kept_with_the_other_statistics(tmp_path, rows, fitting):
    write_statistics(tmp_path / "own.safetensors", {KEY: fit(fitting)})
    known = read_statistics(tmp_path / "own.safetensors")
    assert (known[KEY].low == fitting.min(0)).all() and (known[KEY].high == fitting.max(0)).all()
    part = {"pooling": "mean", "layer": -1, "post_processing": "cut(4)+int8", "weight": 1}
    readout = Aggregation.of({"name": "mean+cut(4)+int8", "layer": -1, "parts": [part], "scale": None})
    assert (readout.read("none", {KEY: rows}, known) == shortened(rows, "cut(4)+int8", fit(fitting))).all()


def test_names_and_sizes():
    assert [short_vector(name) for name in ("cut(64)", "int8", "cut(64)+binary")] == [
        (64, None), (None, "int8"), (64, "binary")
    ]  # fmt: skip
    for name in ("none", "center", "cut(0)", "cut(64)+", "int4", "int8+cut(64)", "cut(64)+center"):
        assert short_vector(name) is None
    assert split_readout(readout_name("last", "cut(64)+int8")) == ("last", "cut(64)+int8")
    sizes = {"none": 1024, "cut(64)": 256, "int8": 256, "binary": 32, "cut(64)+int8": 64, "cut(64)+binary": 8}
    assert {name: bytes_a_text(256, name) for name in sizes} == sizes
    assert bytes_a_text(10, "binary") == 2


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_study_scores_them_without_a_forward_pass(here):
    study = Study(resolve(demo(grid__post_processing=["none", *FORMS])))
    names = [readout["name"] for readout in study.readouts()]
    poolings = study["grid"]["poolings"]
    assert names == [f"{pooling}+{form}" for form in FORMS for pooling in poolings]
    assert study.grid_spec() == Study(resolve(demo())).grid_spec()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid__post_processing": ["cut(256)"]}, "grid.post_processing: 256 is not fewer than the 256 dimensions of"),
        ({"grid__post_processing": ["cut(9999)+int8"]}, "grid.post_processing: 9999 is not fewer than the 256"),
        ({"grid__post_processing": ["int4"]}, "grid.post_processing: unknown post-processing 'int4'"),
        ({"aggregations__a": {"parts": [{"pooling": "mean", "post_processing": "int8"}]}},
         "aggregations.a.parts: 'int8' is for a pooling alone"),
        ({"exports__docs-cluster__truncate_dim": 256}, "truncate_dim: 256 is not fewer than the 256 dimensions of"),
        ({"exports__docs-cluster__truncate_dim": 0}, "truncate_dim: 0 is too small"),
        ({"exports__docs-cluster__post_processing": "cut(64)+int8"},
         "'cut(64)+int8' is no module; use truncate_dim: 64 and encode(..., precision='int8') instead"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_is_one_line_with_its_key(here, changes, said):
    assert said in told(demo(**changes))


def test_without_truncate_dim_an_export_is_as_before(here):
    name = next(iter(demo()["exports"]))
    assert "truncate_dim" not in Study(resolve(demo())).export_spec(name)
    assert "truncate_dim" not in Study(resolve(demo())).shown()["exports"][name]
    cut = Study(resolve(demo(**{f"exports__{name}__truncate_dim": 64})))
    assert cut.export_spec(name)["truncate_dim"] == 64


def test_the_exports_config_has_sentence_transformers_key(tmp_path):
    for dims in (None, 64):
        folder = tmp_path / str(dims)
        folder.mkdir()
        save_modules(folder, [], max_tokens=10, normalize=True, truncate_dim=dims)
        config = json.loads((folder / "config_sentence_transformers.json").read_text())
        assert config.get("truncate_dim") == dims


def test_the_pipelines_vectors_are_cut_after_they_have_length_one(rows):
    class Engine:
        def encode(self, *_):
            return rows

    spec = {"pooling": "mean", "layer": -1, "normalize": True}
    whole, cut = (pipeline_vectors(Engine(), [], "{text}", spec | more) for more in ({}, {"truncate_dim": 4}))
    assert (cut == whole[:, :4]).all() and np.allclose(np.linalg.norm(whole, axis=1), 1)
