"""vLLM's pooling runner gives the pipeline's vectors of an exported model, from the pipeline's own token ids."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from promptpool.embedding.embedder import Embedder
from promptpool.export.check_parity import PARITY, cosines, parity_texts
from promptpool.templates import Template
from tiny import tiny_adapter, tiny_model
from tiny_export import LIMIT, LINES, PROMPT, export, tables

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / ".vllm/bin/python"
TIMEOUT = 600  # seconds; starting vLLM takes half a minute of it

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON}: no vLLM here; `make vllm` builds it"),
]

WORKER = Path(__file__).with_name("pool_with_vllm.py")


@pytest.mark.parametrize(("architecture", "pooling"), [("qwen3", "last"), ("llama", "mean")])
def test_vllm_gives_the_pipelines_vectors(architecture, pooling, tmp_path):
    # vLLM's CPU kernels know no smaller heads.
    base = tiny_model(tmp_path / "base", architecture, bos=True, chat=True, head_dim=64, max_position_embeddings=512)
    adapter = tiny_adapter(tmp_path / "adapter", base)
    exported = export(tmp_path / "out", base, adapter, tables(tmp_path / "tables"), pooling=pooling)
    engine = Embedder.load(str(base), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    texts = parity_texts(LINES, PROMPT, engine, LIMIT)
    template = Template.parse("cluster", PROMPT)
    ids = [list(engine.composer.compose(template, text, eos=pooling == "eos").ids) for text in texts]
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    command = [str(PYTHON), str(WORKER), str(exported), "ids.json", "vectors.npy"]
    surroundings = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow"), "VLLM_CPU_KVCACHE_SPACE": "1",
                    "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}  # fmt: skip
    answer = subprocess.run(
        command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    theirs = np.load(tmp_path / "vectors.npy")
    assert cosines(engine.encode(texts, PROMPT, pooling), theirs).min() >= PARITY
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), 1, rtol=1e-4)
