"""The lexical part of an aggregation: fitted on given texts, the same from its file."""

import numpy as np
import pytest
from promptpool.embedding.aggregation import Aggregation
from promptpool.embedding.lexical import WithLexical, read_lexical, write_lexical
from promptpool.embedding.post_processing import fit
from promptpool.errors import PromptpoolError
from promptpool.scoring.fit_lexical import fit_words
from tiny_study import sentences


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return sentences(3, 30)["text"].tolist()


def test_texts_of_a_topic_lie_closer_and_unknown_words_count_nothing(texts):
    part = fit_words(texts, 8)
    own = part.vectors(["knead the dough", "the oven and the flour", "a sail on the mast", "qqq zzz"])
    assert own.shape == (4, 8) and own.dtype == np.float32
    assert own[0] @ own[1] > own[0] @ own[2] and not own[3].any()
    assert "the" not in part.words


def test_it_is_the_same_from_its_file(texts, tmp_path):
    part = fit_words(texts, 4)
    write_lexical(tmp_path / "part.safetensors", part)
    again = read_lexical(tmp_path / "part.safetensors")
    assert again.words == part.words and np.array_equal(again.vectors(texts), part.vectors(texts))
    assert again.statistics.texts == len(texts)
    assert np.array_equal(again.statistics.axes, part.statistics.axes)


def test_too_few_words_are_refused(texts):
    with pytest.raises(PromptpoolError, match="too few for 500 dimensions; lower dim to"):
        fit_words(texts, 500)


@pytest.mark.parametrize("scale", ["text", "corpus"])
def test_it_stands_beside_a_pooling_with_its_weight(texts, scale):
    part = fit_words(texts, 8)
    draw = np.random.default_rng(0).standard_normal((len(texts), 6)).astype(np.float32)
    vectors = WithLexical({("cluster", "last", -1): draw}, {"tfidf-svd(8)": part.vectors(texts)})
    known = WithLexical({("cluster", "last", -1): fit(draw)}, {"tfidf-svd(8)": part.statistics})
    parts = [{"pooling": "last", "layer": -1}, {"pooling": "tfidf-svd(8)", "layer": -1, "weight": 0.5,
                                                "post_processing": "center"}]  # fmt: skip
    whole = Aggregation.of({"name": "two", "layer": -1, "parts": parts, "scale": scale}).read("cluster", vectors, known)
    assert whole.shape == (len(texts), 14)
    share = np.linalg.norm(whole[:, 6:], axis=1) / np.linalg.norm(whole[:, :6], axis=1)
    assert np.median(share) == pytest.approx(0.5, rel=1e-3 if scale == "text" else 0.3)
    assert list(vectors) == [("cluster", "last", -1)] and len(vectors) == 1
