"""Each guard against a silent fault, tripped. docs/explanation/reliability.md lists them all."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from promptpool.artifacts.files import sidecar_path, write_sidecar
from promptpool.artifacts.parts import texts_digest
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import load_backbone, vocabulary_digest
from promptpool.scoring.embed_baseline import require_whole_prompt
from promptpool.scoring.scored_task import ScoredTask
from promptpool.scoring.scorer import Scorer, require_same_texts
from promptpool.templates import Composer, Template
from safetensors.torch import load_file, save_file
from tiny import TEXTS, tiny_adapter, tiny_model, tiny_tokenizer
from transformers import AutoTokenizer

PROMPTS = {"cluster": 'This sentence: "{text}" belongs to the following cluster:'}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base") / "model")


def test_one_vector_for_all_texts_is_an_error(tmp_path):
    path = tiny_model(tmp_path / "model")
    weights = load_file(path / "model.safetensors")
    weights = {name: torch.zeros_like(weight) if "embed" in name else weight for name, weight in weights.items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    embedder = Embedder.load(str(path), device="cpu", dtype="float32")
    with pytest.raises(PromptpoolError, match=r"embedding cluster/mean/-1: 6 texts have one and the same vector"):
        embedder.grid(TEXTS, PROMPTS)


def test_equal_vectors_are_right_for_the_embedding_of_one_last_token_and_for_equal_texts(model):
    embedder = Embedder.load(str(model), device="cpu", dtype="float32", max_text_tokens=1)
    assert embedder.grid(TEXTS, PROMPTS, ["last"], [0])["cluster", "last", 0].std(0).max() < 1e-6
    embedder.grid(["a b", "a c"], PROMPTS, ["last"])  # cut to the same token


def test_a_text_and_prompt_beyond_the_models_context_is_an_error_that_says_by_how_much(tmp_path):
    path = tiny_model(tmp_path / "model", max_position_embeddings=40)
    embedder = Embedder.load(str(path), device="cpu", dtype="float32", max_text_tokens=64)
    prompt = len(embedder.composer.compose(Template.parse("cluster", PROMPTS["cluster"]), "").ids)
    with pytest.raises(PromptpoolError, match=rf"takes {prompt + 64} tokens and the model reads 40; lower max_t"):
        embedder.grid(["node " * 200], PROMPTS)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_a_prompt_is_never_truncated(limit):
    composer = Composer(tiny_tokenizer(), limit)
    template = Template.parse("cluster", PROMPTS["cluster"])
    ids = composer.compose(template, "a long text " * 50).ids
    head, tail = composer.piece(template.prefix), composer.piece(template.suffix)
    assert list(ids[1 : 1 + len(head)]) == head and list(ids[-len(tail) :]) == tail
    assert len(ids) == 1 + len(head) + limit + len(tail)


class Limited:
    """As much of a sentence-transformers model as the guard looks at."""

    def __init__(self, most: int):
        self.max_seq_length, self.tokenizer = most, tiny_tokenizer()


@pytest.mark.parametrize(
    ("most", "before", "after", "told"),
    [
        (8, "", " is about", "the end of the prompt is cut off 'the harbour lies"),
        (3, "a very long prompt before it: ", "", "the prompt leaves no space for a text"),
    ],
)
def test_a_baselines_prompt_that_its_model_would_cut_is_an_error(most, before, after, told):
    with pytest.raises(PromptpoolError, match=rf"^baselines.mine.prompt: with {most} tokens {told}.*; raise max_text_"):
        require_whole_prompt(Limited(most), TEXTS, before, after, "baselines.mine")


def test_a_baselines_text_may_be_cut_and_a_prompt_that_fits_is_fine():
    require_whole_prompt(Limited(8), TEXTS, "query: ", "", "baselines.mine")
    require_whole_prompt(Limited(512), TEXTS, "", " is about", "baselines.mine")


def test_a_tokenizer_with_more_ids_than_the_model_has_embeddings_is_an_error(tmp_path):
    path = tiny_model(tmp_path / "model", vocab_size=280)
    with pytest.raises(PromptpoolError, match=r"the tokenizer has ids up to \d+ and the model 280 embeddings"):
        load_backbone(str(path), device="cpu")


def test_an_adapter_is_not_used_with_another_tokenizer_than_it_learned_with(tmp_path):
    path = tiny_model(tmp_path / "model")
    adapter = tiny_adapter(tmp_path / "tuned" / "step-3", path)
    write_sidecar(adapter.parent, vocabulary=vocabulary_digest(AutoTokenizer.from_pretrained(path)))
    load_backbone(str(path), adapter=adapter, device="cpu")
    tiny_tokenizer(["quite other words make quite another vocabulary"]).save_pretrained(path)
    with pytest.raises(PromptpoolError, match=r"step-3: learned with another tokenizer than the one in .*; put that"):
        load_backbone(str(path), adapter=adapter, device="cpu")


def scored(tmp_path, matrix: np.ndarray):
    table = pd.DataFrame({"text": list("abcdef"), "label": list("xxyyzz")})
    table.to_parquet(tmp_path / "labelled.parquet")
    table[["text"]].to_parquet(tmp_path / "texts.parquet")
    files = [str(tmp_path / name) for name in ("labelled.parquet", "texts.parquet")]
    scorer = Scorer(ScoredTask("mine", {"source": "file"}, *files))
    columns = {"model": "m", "adapter": "base", "step": 0, "prompt": "p", "pooling": "mean", "layer": -1}
    return scorer.score([(columns, "base", matrix)])


def test_a_vector_that_is_not_finite_is_not_scored(tmp_path):
    matrix = np.ones((6, 4), dtype=np.float32)
    matrix[3, 1] = np.nan
    with pytest.raises(PromptpoolError, match=r"task mine: m\.p\.mean\.L-1 has a vector that is not finite"):
        scored(tmp_path, matrix)


def test_too_few_vectors_are_not_scored(tmp_path):
    with pytest.raises(PromptpoolError, match=r"task mine: 5 vectors for 6 texts of .*texts.parquet; remove"):
        scored(tmp_path, np.ones((5, 4), dtype=np.float32))


def test_vectors_of_texts_in_another_order_are_not_scored(tmp_path):
    vectors = tmp_path / "v.safetensors"
    vectors.write_bytes(b"vectors")
    write_sidecar(vectors, texts_digest=texts_digest("abc"))
    require_same_texts(str(vectors), list("abc"), "texts.parquet")
    with pytest.raises(PromptpoolError, match=r"v.safetensors: is of other texts than .*texts.parquet holds now"):
        require_same_texts(str(vectors), list("cba"), "texts.parquet")


def test_vectors_without_a_record_of_their_texts_pass(tmp_path):
    (tmp_path / "v").write_bytes(b"v")
    require_same_texts(str(tmp_path / "v"), ["a"], "texts.parquet")
    write_sidecar(tmp_path / "v", adopted=True)
    assert "inputs" in json.loads(sidecar_path(tmp_path / "v").read_text())
    require_same_texts(str(tmp_path / "v"), ["a"], "texts.parquet")
