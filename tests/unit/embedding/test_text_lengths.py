"""What a sidecar says of texts that are cut, for texts of exactly known lengths."""

import pytest
from promptpool.embedding.text_lengths import MeasuredComposer, chunk_facts, cut_facts, in_a_sentence, is_much
from promptpool.templates import Composer, Template
from tiny import tiny_tokenizer


def test_the_counts_of_known_lengths():
    facts = cut_facts([4, 8, 10, 16, 32, 80], 8)
    assert facts == {
        "how": "cut", "at": 8, "unit": "tokens", "texts": 6, "long": 4, "before": 150, "after": 44,
        "median_lost": 0.625, "largest_lost": 0.9,  # 0.2, 0.5, 0.75 and 0.9 are lost
    }  # fmt: skip
    line = in_a_sentence("Topics", facts)
    assert line == "Topics: 4 of 6 texts (67 %) are cut at 8 tokens; half of these lose 62 % or more, one 90 %."


def test_nothing_lost_is_no_warning():
    facts = cut_facts([1, 2, 8], 8)
    assert facts["long"] == facts["median_lost"] == facts["largest_lost"] == 0 and facts["before"] == facts["after"]
    assert not is_much(facts) and in_a_sentence("A", facts) == "A: all 3 texts are read whole."
    assert cut_facts([], 8)["texts"] == 0 and cut_facts([900], None)["long"] == 0
    assert is_much(cut_facts([9] * 6 + [1] * 94, 8)) and not is_much(cut_facts([9] * 5 + [1] * 95, 8))


def test_chunks_lose_nothing_and_read_an_overlap_twice():
    facts = chunk_facts("mean", 2, 8, [4, 20], [[4], [8, 8, 8]])
    assert facts["long"] == 1 and facts["chunks"] == 4 and facts["most_chunks"] == 3
    assert (facts["before"], facts["after"], facts["largest_lost"]) == (24, 28, 0.0) and not is_much(facts)
    assert "1 of 2 texts (50 %) are read in chunks of at most 8 tokens" in in_a_sentence("A", facts)


@pytest.mark.parametrize("joint", [False, True])
def test_a_composer_notes_lengths_as_it_tokenizes(joint):
    known = Composer(tiny_tokenizer(), 3)
    composer = MeasuredComposer(known)
    texts = ["a graph", "return the shortest path between two nodes", ""]
    whole = [len(known.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    template = Template.parse("p", "Say {text} now")
    if joint:
        assert composer.joint(template, texts) == known.joint(template, texts)
    else:
        assert composer.texts(texts) == known.texts(texts)
    assert [composer.lengths[text] for text in texts] == whole and whole[1] > 3
    calls = []
    composer.tokenizer = lambda *a, **b: calls.append(a)
    assert composer.facts(texts)["long"] == sum(length > 3 for length in whole) and not calls
