"""What a language model is asked."""

import pytest
from promptpool.pairs.styles import TEXT_STYLES, known_styles, needs_chat, query_styles, shipped_styles, turns, worded
from promptpool.templates import SLOT

PLACES = {"language": "English", "pivot": "German"}
PAPER = ("detail", "simple", "teacher", "metaphor", "question")


@pytest.mark.parametrize("name", shipped_styles())
def test_every_instruction_has_one_place_for_the_text_and_no_other_left(name):
    for turn in turns(worded([name], {}, PLACES)[name]):
        assert turn.count(SLOT) == 1
        assert "{" not in turn.replace(SLOT, "")


def test_the_papers_five_and_the_others_are_shipped():
    others = {"backtranslate", "summarize", "keywords", "search-question", "search-phrase", "continue"}
    assert set(shipped_styles()) == {*PAPER, *others}
    assert not set(shipped_styles()) & set(TEXT_STYLES)


def test_only_plain_styles_do_without_a_chat_template():
    assert [name for name, wording in shipped_styles().items() if not needs_chat(wording)] == ["continue"]


def test_backtranslation_goes_out_and_comes_back_in_the_named_languages():
    there, back = turns(worded(["backtranslate"], {}, {"language": "Welsh", "pivot": "Basque"})["backtranslate"])
    assert "into Basque" in there and "Welsh" not in there
    assert "into Welsh" in back and "Basque" not in back


def test_styles_for_search_write_queries_also_when_they_are_reworded():
    names = list(shipped_styles())
    assert query_styles(names, {}) == ["search-question", "search-phrase"]
    own = {
        "search-question": {"chat": "Ask: {text}", "writes": None},
        "asked": {"plain": "{text} Q:", "writes": "query"},
    }
    assert query_styles([*names, "asked"], own) == ["search-question", "search-phrase", "asked"]
    assert worded(["search-question", "asked"], own, PLACES) == {
        "search-question": {"chat": "Ask: {text}", "writes": "query"},
        "asked": {"plain": "{text} Q:", "writes": "query"},
    }
    assert query_styles(names, {"search-phrase": {"chat": "{text}", "writes": "positive"}}) == ["search-question"]
    assert worded(["simple"], {"simple": {"chat": "{text}", "writes": None}}, PLACES) == {"simple": {"chat": "{text}"}}


def test_text_styles_have_no_wording():
    assert worded(["halves", "identity", "word-swap"], {}, PLACES) == {}


def test_a_study_adds_styles_and_may_reword_shipped_ones():
    own = {"headline": {"chat": "Headline: {text}"}, "simple": {"chat": "Simply: {text}"}}
    known = known_styles(own)
    assert known["headline"] == own["headline"] and known["simple"] == own["simple"]
    assert known["detail"] == shipped_styles()["detail"]
    assert shipped_styles()["simple"] != own["simple"]
