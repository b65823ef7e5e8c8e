"""Exported models: plain sentence-transformers gives the pipeline's ids and vectors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.export import check_parity, cosines, export_model
from promptpool.sentence_model import POOLING_MODES, sentence_model
from promptpool.templates import Composer, Template
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tiny import TEXTS, tiny_adapter, tiny_model
from transformers import AutoTokenizer

LIMIT = 12
ODD = [
    *TEXTS, "x", "x" * 300, " ", "  two  spaces ", '"quoted"', "naïve café", 'ends in a quote"',
    "\U0001f642\U0001f680", "日本語のテキスト", "line\nbreak\ttab", "<|end|> is a word here",
    "́starts with an accent", "a " * 200,
]  # fmt: skip
PROMPTS = {
    "none": "{text}",
    "quotes": 'This sentence: "{text}" belongs to:',
    "prefix": "passage: {text}",
    "suffix": "{text} means",
    "accent": "naïve \U0001f642 {text}\U0001f642 日本",
}
BARE = """
import sys
import numpy
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
texts = open(sys.argv[2], encoding="utf-8").read().split("\\0")
numpy.save(sys.argv[3], model.encode(texts, show_progress_bar=False))
assert not [name for name in sys.modules if name.startswith("promptpool")]
"""


@pytest.fixture(scope="module", params=["qwen3-bos", "qwen3-plain", "gpt2-bos", "llama-bos"])
def base(request, tmp_path_factory) -> Path:
    architecture, kind = request.param.split("-")
    return tiny_model(tmp_path_factory.mktemp("base") / request.param, architecture, bos=kind == "bos", chat=True)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("qwen") / "model", bos=True, chat=True)


def built(base: Path, prompt: str, pooling: str = "mean", **options) -> SentenceTransformer:
    template = Template.parse(prompt, PROMPTS[prompt])
    return sentence_model(str(base), template, pooling, LIMIT, device="cpu", **options)


def encoded(model: SentenceTransformer, texts: list[str]) -> np.ndarray:
    return model.encode(texts, show_progress_bar=False, batch_size=5)


@pytest.mark.parametrize("pooling", ["mean", "eos"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_ids_are_those_of_the_composition(base, prompt, pooling):
    model = built(base, prompt, pooling)
    composer = Composer(AutoTokenizer.from_pretrained(base), LIMIT)
    features = model.preprocess(ODD)
    for row, text in enumerate(ODD):
        ids = features["input_ids"][row][features["attention_mask"][row].bool()].tolist()
        template = Template.parse(prompt, PROMPTS[prompt])
        assert ids == list(composer.compose(template, text, eos=pooling == "eos").ids), text


def test_padding_is_on_the_right(qwen):
    mask = built(qwen, "quotes").preprocess(ODD)["attention_mask"]
    assert (mask[:, 0] == 1).all() and (mask[:, -1] == 0).any()
    assert (mask.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("pooling", POOLING_MODES)
def test_vectors_are_the_embedders(base, pooling):
    engine = Embedder.load(str(base), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    for prompt, template in PROMPTS.items():
        mine = engine.encode(ODD, template, pooling)
        theirs = encoded(built(base, prompt, pooling), ODD)
        assert mine.shape == theirs.shape
        assert cosines(mine, theirs).min() >= 0.9999, prompt


def test_normalised_models_give_length_one(qwen):
    rows = encoded(built(qwen, "quotes", normalize=True), ODD)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_a_pooling_that_stock_sentence_transformers_lacks_is_named(qwen):
    with pytest.raises(PromptpoolError, match="pooling 'attention' is not in stock sentence-transformers"):
        built(qwen, "none", "attention")


@pytest.fixture(scope="module")
def headline(tmp_path_factory) -> Path:
    """A headline table by hand, one difference and one score."""
    path = tmp_path_factory.mktemp("summary") / "headline.parquet"
    common = {"model": "small", "adapter": "tuned", "step": 3, "prompt": "quotes", "pooling": "last", "layer": -1}
    rows = [
        {"row": "export out", "kind": "score", "task": "mean", "score": 0.4321, "low": 0.4, "high": 0.46, "n": 10},
        {"row": "best tuned - random", "kind": "difference", "task": "mean", "score": 0.1234, "low": 0.1, "high": 0.15,
         "n": 10},
        {"row": "best tuned - random", "kind": "difference", "task": "topics", "score": 0.777, "low": 0.7, "high": 0.8,
         "n": 10},
    ]  # fmt: skip
    pd.DataFrame([{**row, "label": "small, tuned@3", **common} for row in rows]).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def adapter(qwen, tmp_path_factory) -> Path:
    return tiny_adapter(tmp_path_factory.mktemp("adapter") / "step-3", qwen)


def spec_of(pooling: str = "last", adapter: str = "tuned@3", normalize: bool = False) -> dict:
    return {"model": "small", "adapter": adapter, "prompt": "quotes", "pooling": pooling, "max_text_tokens": LIMIT,
            "normalize": normalize}  # fmt: skip


def export(out: Path, base: Path, adapter: Path | None, headline: Path, spec: dict) -> Path:
    export_model(
        str(out), name="out", spec=spec, model=str(base), revision=None, adapter=adapter and str(adapter),
        template=PROMPTS["quotes"], headline=str(headline), pairs={"halves": {"style": "halves", "corpus": "lines"}},
        recipe={"batch_size": 8}, licence="apache-2.0",
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def exported(qwen, adapter, headline, tmp_path_factory) -> Path:
    return export(tmp_path_factory.mktemp("exports") / "out", qwen, adapter, headline, spec_of())


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "texts.parquet"
    pd.DataFrame({"text": ODD}).to_parquet(path)
    return path


def parity(exported: Path, texts: Path, base: Path, adapter: Path | None, spec: dict) -> dict:
    out = texts.parent / "parity.json"
    check_parity(
        str(exported), str(texts), str(out), spec=spec, model=str(base), revision=None,
        adapter=adapter and str(adapter), template=PROMPTS["quotes"],
    )  # fmt: skip
    return json.loads(out.read_text())


def test_a_saved_model_loads_in_a_process_that_knows_nothing_of_us(exported, qwen, adapter, tmp_path):
    (tmp_path / "texts").write_text("\0".join(ODD), encoding="utf-8", newline="")
    command = [sys.executable, "-c", BARE, str(exported), str(tmp_path / "texts"), str(tmp_path / "out.npy")]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    engine = Embedder.load(str(qwen), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    mine = engine.encode(ODD, PROMPTS["quotes"], "last")
    assert cosines(mine, np.load(tmp_path / "out.npy")).min() >= 0.9999


def test_an_export_passes_its_parity_check(exported, texts, qwen, adapter):
    facts = parity(exported, texts, qwen, adapter, spec_of())
    assert facts["texts"] == len(ODD)
    assert facts["lowest_cosine"] >= 0.9999


@pytest.mark.parametrize("pooling", POOLING_MODES)
def test_every_exportable_pooling_passes_without_an_adapter(base, headline, texts, tmp_path, pooling):
    spec = spec_of(pooling, adapter="base", normalize=pooling in ("mean", "concat"))
    out = export(tmp_path / "out", base, None, headline, spec)
    assert parity(out, texts, base, None, spec)["lowest_cosine"] >= 0.9999


def test_spoilt_weights_fail_the_parity_check(exported, texts, qwen, adapter, tmp_path):
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (file,) = broken.glob("**/model.safetensors")
    weights = load_file(file)
    generator = torch.Generator().manual_seed(0)
    name = next(key for key in sorted(weights) if key.endswith("q_proj.weight"))
    weights[name] = weights[name] + 0.2 * torch.randn(weights[name].shape, generator=generator)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(PromptpoolError, match=r"cosine 0\.\d+ to the pipeline's vector of"):
        parity(broken, texts, qwen, adapter, spec_of())


def test_an_export_without_its_adapter_fails_the_parity_check(qwen, adapter, headline, texts, tmp_path):
    untuned = export(tmp_path / "untuned", qwen, None, headline, spec_of(adapter="base"))
    with pytest.raises(PromptpoolError, match="cosine"):
        parity(untuned, texts, qwen, adapter, spec_of())


def test_an_adapter_that_changes_nothing_fails_the_parity_check(qwen, headline, texts, tmp_path):
    idle = tiny_adapter(tmp_path / "idle", qwen, scale=1e-12)
    out = export(tmp_path / "out", qwen, idle, headline, spec_of())
    with pytest.raises(PromptpoolError, match="changes nothing"):
        parity(out, texts, qwen, idle, spec_of())


def test_an_adapter_does_not_leave_its_own_files_in_the_export(exported):
    assert not list(exported.rglob("adapter_*"))


def test_the_export_is_free_of_a_chat_template(exported):
    assert not list(exported.rglob("chat_template*"))
    assert "chat_template" not in json.loads(next(exported.rglob("tokenizer_config.json")).read_text())


def test_the_model_card_tells_the_template_and_the_scores(exported):
    card = (exported / "README.md").read_text()
    for told in (PROMPTS["quotes"], "43.2", "40.0 to 46.0", "last pooling", "`tuned` at step 3", "batch_size: 8",
                 "style halves, corpus lines", "apache-2.0", f"{LIMIT} tokens"):  # fmt: skip
        assert told in card, told
    assert "77.7" not in card  # a single task's row


def test_the_model_card_names_no_machine(exported, qwen):
    assert str(qwen.parent) not in (exported / "README.md").read_text()


def test_the_variant_is_written_beside_the_model(exported):
    variant = json.loads((exported / "promptpool.json").read_text())
    assert variant["template"] == PROMPTS["quotes"]
    assert (variant["adapter"], variant["step"], variant["pooling"]) == ("tuned", 3, "last")


def test_the_export_has_its_provenance(exported):
    sidecar = json.loads(exported.with_name("out.meta.json").read_text())
    assert any("adapter_model.safetensors" in path for path in sidecar["inputs"])
