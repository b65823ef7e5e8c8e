"""The card of a model whose long texts were scored in chunks: its code gives the scored vectors."""

import re

import numpy as np
import pytest
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.split_texts import split_texts
from promptpool.embedding.task_rows import means
from promptpool.export.chunk_notes import chunk_notes
from promptpool.models.sentence_model import sentence_model
from promptpool.templates import Template
from sentence_transformers import SentenceTransformer
from tiny import TEXTS, tiny_model

MOST, OVERLAP, PROMPT = 8, 2, 'This: "{text}" means'
LONG = [" ".join(TEXTS), TEXTS[1], f"{TEXTS[3]}. {TEXTS[4]}."]


def noted(how: str, template: object = PROMPT) -> str:
    spec = {"how": how, "overlap": OVERLAP, "at": MOST}
    return chunk_notes({"template": template, "long_texts": {"A": spec, "B_2": spec}})


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "qwen3"))


def run(how: str, path: str, **names: object) -> dict:
    (snippet,) = re.findall(r"```python\n(.*?)```", noted(how), flags=re.S)
    model = sentence_model(path, Template.parse("p", PROMPT), "last", MOST, normalize=True, device="cpu")
    scope = {"SentenceTransformer": SentenceTransformer, "model": model, **names}
    exec(snippet, scope)
    return scope


def test_the_code_for_means_gives_the_scored_vectors(path):
    engine = Embedder.load(path, device="cpu", dtype="float32", max_text_tokens=MOST)
    split = split_texts(engine.composer, LONG, OVERLAP)
    assert list(map(len, split.pieces)) != [1, 1, 1]
    flat = engine.encode([piece for own in split.pieces for piece in own], PROMPT, "last")
    wanted = means({"x": flat}, split.tokens)["x"]
    found = run("mean", path, texts=LONG)["vectors"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_code_for_max_sim_ranks_by_chunks(path):
    scores = run("max-sim", path, documents=LONG)["scores"]
    assert len(scores) == len(LONG) and all(-1 <= score <= 1 for score in scores)


def test_the_card_names_the_tasks_once_and_says_nothing_without_chunks():
    text = noted("mean")
    assert (
        text.startswith("\n\nLong texts of `A`, `B_2` were scored in chunks of at most 8 tokens")
        and text.count("```") == 2
    )
    assert "encode_document(" in noted("mean", {"query": "{text}", "document": "{text}"})
    assert "encode_query(" in noted("max-sim", {"query": "{text}", "document": "{text}"})
    assert chunk_notes({"template": PROMPT}) == ""
