"""Content words and function words: by the list, by the tokenizer's places, in any script."""

from types import SimpleNamespace

import pytest
from promptpool.errors import PromptpoolError
from promptpool.text.content_words import content_tokens, content_words, token_offsets
from promptpool.text.function_words import read_function_words
from tiny import TEXTS, tiny_tokenizer

ENGLISH = read_function_words()


def found(text: str, words: frozenset[str] = ENGLISH) -> list[str]:
    return [text[start:stop] for start, stop in content_words(text, words)]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("Return the shortest path between two nodes.", ["Return", "shortest", "path", "two", "nodes"]),
        ("IT IS NOT here, nor There", []),
        ("Kepler's law doesn’t hold; it's n't", ["Kepler", "law", "hold", "n", "t"]),
        ("n_samples == 3, ___ -- !", ["n_samples", "3"]),
        ("l'ami d'un café", ["l", "ami", "d", "un", "café"]),
        ("漢字かな 한국어 שלום", ["漢字かな", "한국어", "שלום"]),
        ("😀 ... ?", []),
        ("", []),
    ],
)
def test_a_content_word_is_not_on_the_list_and_holds_a_letter_or_digit(text, content):
    assert found(text) == content


def test_the_english_list_has_the_closed_classes_and_no_content_word():
    assert {"the", "of", "and", "she", "would", "not", "don't", "'s", "between", "because"} <= ENGLISH
    assert not {"path", "return", "two", "graph", "good", "make", "time"} & ENGLISH
    assert 200 < len(ENGLISH) < 400


def classes(tokenizer, text: str) -> list[tuple[str, bool]]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    where, offsets = token_offsets(tokenizer, text, ids)
    assert len(offsets) == len(ids)
    return list(zip((where[a:b] for a, b in offsets), content_tokens(where, offsets, ENGLISH), strict=True))


def test_every_piece_of_a_word_has_the_words_class():
    pieces = classes(tiny_tokenizer(), "the unfamiliar harbours, and they don't")
    assert len(pieces) > 12  # the words are really cut
    content = "".join(piece for piece, is_content in pieces if is_content)
    assert content.split() == ["unfamiliar", "harbours"]


def test_bytes_of_one_character_share_its_class():
    # A byte-level tokenizer cuts each of these into bytes: the letters are content, the emoji is not.
    pieces = classes(tiny_tokenizer(), "é 漢 😀")
    assert {piece: is_content for piece, is_content in pieces if piece.strip()} == {"é": True, "漢": True, "😀": False}
    assert sum(piece == "漢" for piece, _ in pieces) == 3


def test_a_tokenizer_without_offsets_is_read_by_decoding():
    fast = tiny_tokenizer(TEXTS)
    slow = SimpleNamespace(is_fast=False, decode=fast.decode)
    ids = fast(TEXTS[4], add_special_tokens=False)["input_ids"][:9]
    by_decoding = token_offsets(slow, TEXTS[4], ids)
    assert by_decoding[1] == token_offsets(fast, TEXTS[4], ids)[1]
    assert TEXTS[4].startswith(by_decoding[0])


def test_a_list_of_another_language_is_read_from_a_file(tmp_path):
    path = tmp_path / "german.txt"
    path.write_text("der die das  # Artikel\n# ganz leer\nUND\n", encoding="utf-8")
    words = read_function_words(path)
    assert words == {"der", "die", "das", "und"}
    assert found("Der Hund und die Katze", words) == ["Hund", "Katze"]


@pytest.mark.parametrize(
    ("content", "told"), [(None, "can't read"), (b"\xff\xfe\xff", "can't read"), (b"# x\n", "no word")]
)
def test_a_list_that_is_none_is_named(tmp_path, content, told):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptpoolError, match=f"(?s)attention.function_words: .*{told}") as error:
        read_function_words(path)
    assert "words.txt" in str(error.value) and "\n" not in str(error.value)
