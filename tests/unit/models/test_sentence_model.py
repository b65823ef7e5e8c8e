"""A sentence-transformers model of stock modules gives the pipeline's ids and vectors."""

from pathlib import Path

import numpy as np
import pytest
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.export.check_parity import cosines
from promptpool.models.sentence_model import POOLING_MODES, sentence_model
from promptpool.templates import Composer, Template
from sentence_transformers import SentenceTransformer
from tiny import TEXTS, tiny_model
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


@pytest.mark.parametrize("pooling", ["mean", "eos"])
def test_each_role_has_its_own_prompt_and_the_same_limit(base, pooling):
    templates = {"query": Template.parse("q", PROMPTS["quotes"]), "document": Template.parse("d", PROMPTS["accent"])}
    model = sentence_model(str(base), templates, pooling, LIMIT, device="cpu")
    composer = Composer(AutoTokenizer.from_pretrained(base), LIMIT)
    for task, role in (("query", "query"), ("document", "document"), (None, "document")):
        features = model.preprocess(ODD, task=task)
        for row, text in enumerate(ODD):
            ids = features["input_ids"][row][features["attention_mask"][row].bool()].tolist()
            assert ids == list(composer.compose(templates[role], text, eos=pooling == "eos").ids), (task, text)
    plain, answer = encoded(model, ODD), model.encode_document(ODD, show_progress_bar=False, batch_size=5)
    assert np.array_equal(plain, answer)
    assert np.abs(plain - model.encode_query(ODD, show_progress_bar=False)).max() > 1e-3
