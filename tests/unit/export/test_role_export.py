"""Exports with a query and a document prompt: stock sentence-transformers gives both roles' vectors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.export.check_parity import awkward_texts, cosines
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from tiny import TEXTS, tiny_model
from tiny_export import LIMIT, PROMPT, export, parity, spec_of
from transformers import AutoTokenizer

ROLES = {"query": 'Which text answers "{text}"?', "document": "{text}"}
ODD = [*TEXTS, *awkward_texts(ROLES["query"], "<|end|>", LIMIT)]
LOADED = """
import sys
import numpy
from sentence_transformers import SentenceTransformer
texts = open(sys.argv[1], encoding="utf-8", newline="").read().split("\\0")
for path in sys.argv[2:]:
    model = SentenceTransformer(path, device="cpu")
    for name in ("encode", "encode_query", "encode_document"):
        numpy.save(f"{path}.{name}.npy", getattr(model, name)(texts, show_progress_bar=False))
assert not [name for name in sys.modules if name.startswith("promptpool")]
"""


def test_both_roles_are_the_pipelines_where_promptpool_is_not(base, adapter, given, tmp_path):
    kinds = {"plain": {"pooling": "weighted"}, "inner": {"pooling": "eos", "layer": 1}}
    paths = [
        export(tmp_path / kind, base, adapter, given, template=ROLES, **changes) for kind, changes in kinds.items()
    ]
    (tmp_path / "texts").write_text("\0".join(ODD), encoding="utf-8", newline="")
    (tmp_path / "elsewhere").mkdir()
    answer = subprocess.run(
        [sys.executable, "-I", "-c", LOADED, str(tmp_path / "texts"), *map(str, paths)],
        capture_output=True, text=True, cwd=tmp_path / "elsewhere", timeout=300, check=False,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "elsewhere")},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    engine = Embedder.load(str(base), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    for path, changes in zip(paths, kinds.values(), strict=True):
        spec = spec_of(**changes)
        for role, template in ROLES.items():
            mine = engine.encode(ODD, template, spec["pooling"], spec["layer"])
            assert cosines(mine, np.load(f"{path}.encode_{role}.npy")).min() >= 0.9999, (path.name, role)
        plain, document = (np.load(f"{path}.{name}.npy") for name in ("encode", "encode_document"))
        assert np.array_equal(plain, document)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_other_architectures_read_a_routers_ids(architecture, given, tmp_path):
    base = tiny_model(tmp_path / "base", architecture, bos=True)
    out = export(tmp_path / "out", base, None, given, template=ROLES)
    found = parity(out, base, None, template=ROLES)
    assert found["lowest_cosine"] >= 0.9999 and found["texts"] == 200
    assert found["calls"] == ["encode_query", "encode_document"]


def test_the_weights_are_there_once_and_the_router_is_small(base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given, template=ROLES)
    one = export(tmp_path / "one", base, adapter, given)
    extra = sum(path.stat().st_size for path in (out / "0_Router").rglob("*.safetensors"))
    assert extra < 100_000 and (out / "model.safetensors").stat().st_size == (one / "model.safetensors").stat().st_size
    model = SentenceTransformer(str(out), device="cpu")
    assert isinstance(model[0], Router)
    # What reads the directory without its Router reads documents.
    ids = AutoTokenizer.from_pretrained(out)("the oven")["input_ids"]
    assert ids == AutoTokenizer.from_pretrained(out / "0_Router/document_0_Transformer")("the oven")["input_ids"]
    assert json.loads((out / "promptpool.json").read_text())["template"] == ROLES


def test_another_prompt_than_the_exports_fails_the_parity_check(base, adapter, given, tmp_path):
    out = export(tmp_path / "out", base, adapter, given, template=ROLES)
    assert parity(out, base, adapter, template=ROLES)["lowest_cosine"] >= 0.9999
    with pytest.raises(PromptpoolError, match=r"but at least 0\.9999 is needed"):
        parity(out, base, adapter, template={**ROLES, "query": PROMPT})


def test_the_card_shows_both_prompts_and_calls(base, adapter, given, tmp_path):
    card = (export(tmp_path / "out", base, adapter, given, template=ROLES) / "README.md").read_text()
    assert "encode_query(" in card and "encode_document(" in card and "needs sentence-transformers 6" in card
    assert f"A query:\n\n```text\n{ROLES['query']}\n```\n\nA document:\n\n```text\n{{text}}\n```" in card
    assert "queries too, without a word" in card
