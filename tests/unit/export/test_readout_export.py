"""Exports of post-processed poolings and of aggregations: stock modules only, and the pipeline's vectors."""

import json
import re

import pytest
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.post_processing import fit, write_statistics
from promptpool.errors import PromptpoolError
from sentence_transformers import SentenceTransformer
from tiny_export import LIMIT, LINES, PROMPT, export, parity

HALF = "soft-whiten(0.5)"
LAYERS = (-1, 1, 0.5)
POOLINGS = ("last", "mean", "weighted", "max", "concat", "eos")


@pytest.fixture(scope="module")
def statistics(base, adapter, tmp_path_factory) -> str:
    engine = Embedder.load(str(base), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    found = engine.grid([f"{line} again" for line in LINES], {"quotes": PROMPT}, POOLINGS, LAYERS)
    path = tmp_path_factory.mktemp("fit") / "fit.safetensors"
    write_statistics(path, {key: fit(rows) for key, rows in found.items()})
    return str(path)


def several(*parts: tuple, scale: str = "corpus") -> dict:
    keys = ("pooling", "layer", "post_processing", "weight")
    return {"name": "mine", "layer": -1, "scale": scale,
            "parts": [dict(zip(keys, part, strict=True)) for part in parts]}  # fmt: skip


def one(pooling: str, post_processing: str, layer: float = -1) -> dict:
    return {**several((pooling, layer, post_processing, 1)), "scale": None}


READOUTS = {
    "centered": one("last", "center"),
    "a concatenation, whitened": one("concat", HALF),
    "max, z-scored": one("max", "zscore"),
    "an inner layer": one("mean", "remove-top(1)", 1),
    "two layers": several(("last", -1, HALF, 1), ("weighted", 1, HALF, 2)),
    "two layers, the inner first": several(("weighted", 1, "zscore", 1), ("last", -1, "none", 1)),
    "two poolings of one layer": several(("last", -1, "center", 1), ("mean", -1, "center", 1)),
    "inner layers alone": several(("mean", 1, "none", 1), ("last", 0.5, HALF, 1)),
    "three parts of several widths": several(
        ("concat", -1, HALF, 1), ("max", 1, "zscore", 0.5), ("mean", 0.5, "none", 2)
    ),
    "with EOS": several(("eos", -1, HALF, 1), ("eos", 1, HALF, 1)),
}


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_plain_sentence_transformers_gives_the_pipelines_vectors(readout, base, adapter, given, statistics, tmp_path):
    several_parts = readout["scale"] is not None
    changes = {"pooling": readout["name"] if several_parts else readout["parts"][0]["pooling"]}
    out = export(tmp_path / "out", base, adapter, given, readout=(readout, statistics), **changes)
    facts = parity(out, base, adapter, readout=(readout, statistics), **changes)
    assert facts["lowest_cosine"] >= 0.9999 and facts["texts"] == 100
    kinds = [module["type"] for module in json.loads((out / "modules.json").read_text())]
    assert all(kind.startswith("sentence_transformers.") for kind in kinds)
    assert not list(out.rglob("*.py"))
    loaded = SentenceTransformer(str(out), device="cpu", trust_remote_code=False)
    assert loaded.get_embedding_dimension() == loaded.encode(["a text"]).shape[1]


def test_without_its_statistics_an_export_fails_the_check(base, adapter, given, statistics, tmp_path):
    """The check sees a post-processing that is missing."""
    readout = one("last", HALF)
    out = export(tmp_path / "out", base, adapter, given)
    with pytest.raises(PromptpoolError, match="cosine"):
        parity(out, base, adapter, readout=(readout, statistics))


def test_the_card_and_the_facts_name_the_readout(base, adapter, given, statistics, tmp_path):
    readout = READOUTS["two layers"]
    out = export(tmp_path / "out", base, adapter, given, readout=(readout, statistics), pooling="mine")
    variant = json.loads((out / "promptpool.json").read_text())
    assert variant["parts"] == readout["parts"] and variant["scale"] == "corpus"
    assert variant["fitted_texts"] == len(LINES)
    card = (out / "README.md").read_text()
    assert "`last` of the last layer, soft-whiten(0.5)" in card and "`weighted` of layer 1" in card
    assert re.search(r"dimensions from|of \d+ dimensions", card)
    assert "sentence-transformers 6 or newer, and no code of its own" in card


def test_an_ordinary_export_says_nothing_of_readouts(base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given)
    assert "parts" not in json.loads((out / "promptpool.json").read_text())
