"""Chunks of long texts: how long they are, where they begin and end, and that nothing is lost."""

from itertools import pairwise

import pytest
from promptpool.embedding.split_texts import split_texts
from promptpool.errors import PromptpoolError
from promptpool.templates import Composer
from tiny import TEXTS, tiny_tokenizer

LONG = "Knead the dough. Bake the bread in a hot oven, and let it rest. The harbour lies north of the old town."
ODD = [
    "", " ", "\n" * 60, "x" * 90, "面包在烤箱里。港口在老城北边。" * 4, "🙂" * 30, "a\ud83d b" * 20,
    "no end of a sentence anywhere just words and words and words and words and words and words", LONG * 3,
]  # fmt: skip


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(tiny_tokenizer([*TEXTS, LONG]), 12)


def tokens(composer: Composer, text: str) -> int:
    return len(composer.tokenizer(composer.clean([text])[0], add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("overlap", [0, 4, 11])
@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_no_chunk_is_too_long_and_only_white_space_is_lost(composer, text, overlap):
    pieces, counts, lengths = split_texts(composer, [text], overlap)
    assert list(counts[0]) == [tokens(composer, piece) for piece in pieces[0]]
    assert lengths.tolist() == [tokens(composer, text)]
    if lengths[0] <= 12 or not text.strip():
        assert pieces[0] == (text,)
        return
    assert max(counts[0]) <= 12 and len(pieces[0]) > 1
    whole = "".join(composer.clean([text])[0].split())
    if overlap == 0 and "🙂" not in text:  # bytes of one character may lie in two chunks
        assert "".join("".join(pieces[0]).split()) == whole
    for piece in pieces[0]:
        assert piece == piece.strip() and "".join(piece.split()) in whole


def test_a_chunk_ends_with_a_sentence_where_one_ends_in_its_second_half(composer):
    first = "Knead the dough in a hot oven."
    assert 6 < tokens(composer, first) <= 12
    text = f"{first} {LONG}"
    ((pieces,), _, _) = split_texts(composer, [text])
    assert pieces[0] == first
    assert all(text.split(piece)[0][-1:] in ("", " ") for piece in pieces)  # each starts with a word


def test_an_overlap_repeats_the_end_of_the_chunk_before_from_a_word_on(composer):
    text = "the weighted nodes of a graph are returned in order " * 4
    ((pieces,), _, _) = split_texts(composer, [text], 5)
    for one, other in pairwise(pieces):
        common = next(n for n in range(len(other), 0, -1) if one.endswith(other[:n]))
        assert 0 < tokens(composer, other[:common]) <= 6  # a word without its space may have one more


def test_normalised_texts_are_normalised_chunk_by_chunk():
    composer = Composer(tiny_tokenizer([*TEXTS, LONG]), 12, "prompteol")
    ((pieces,), (counts,), _) = split_texts(composer, ['the "old" town lies north of the harbour ' * 4])
    assert all(tokens(composer, piece) == count <= 12 for piece, count in zip(pieces, counts, strict=True))
    assert '"old"' in pieces[0]


def test_a_tokenizer_without_places_is_refused():
    class Slow:
        is_fast, name_or_path, eos_token_id = False, "slow", 1

        def __call__(self, text, **_):
            return {"input_ids": [1]}

    with pytest.raises(PromptpoolError, match=r"slow: its tokenizer does not say where tokens lie.*long_texts: cut"):
        split_texts(Composer(Slow(), 12), ["a text"])
