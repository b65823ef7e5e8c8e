"""Filters: each fault has its reason, good positives pass, and no text is too odd or too long."""

import random
import re
from pathlib import Path

import pytest
import yaml
from promptpool.errors import PromptpoolError
from promptpool.pairs import filters as filters_module
from promptpool.pairs.filters import REASONS, echo, first_uses, instruction_triples, judge_pairs
from promptpool.text import boilerplate as book
from promptpool.text.language import language, other_language, script
from promptpool.text.words import word_count, words

EXAMPLES = yaml.safe_load((Path(__file__).parent / "positives.yaml").read_text(encoding="utf-8"))
OFF = {
    "min_words": 0, "max_echo": None, "script": False, "language": False, "refusal": False, "leaked": False,
    "cut": False, "length_ratio": None, "near_duplicate": None, "semantic": None,
}  # fmt: skip
ALL = {
    **OFF, "min_words": 2, "max_echo": 0.8, "script": True, "language": True, "refusal": True, "leaked": True,
    "cut": True, "length_ratio": [0.2, 5],
}  # fmt: skip
ANCHOR = "The graph has four nodes and six edges."
ODD = [
    "", " \n\t ", "\x00", "a\x00b c d", "\ud800 alone \udfff here now", "\U0001f642\U0001f680", "مرحبا بالعالم كله",
    "שלום עולם \u202eטקסט", '"quoted" and “curly”', "line\nbreak\r\ntab\t here", "́ starts with an accent", "ﬁ ﷺ ½",
    "日本語のテキストです。", "x" * 100_000, "word " * 20_000, "日" * 100_000, "<|" * 50_000, "here is " * 12_500,
    "(((((" * 20_000, "as an ai " * 11_000, " " * 100_000 + "end", "\n" * 100_000, "\ud800" * 100_000,
]  # fmt: skip


def reasons(rows: list[list[str]], **changes: object) -> list[str | None]:
    texts = [EXAMPLES["anchors"][row[0]] for row in rows]
    return judge_pairs(
        texts, [row[2] for row in rows], [row[1] for row in rows], {**ALL, **changes}, EXAMPLES["instructions"]
    )


def reason(positive: str, text: str = ANCHOR, style: str = "simple", **changes: object) -> str | None:
    return judge_pairs([text], [positive], [style], {**OFF, **changes}, EXAMPLES["instructions"])[0]


# How many bad positives are found, and how many good ones are lost


def test_bad_positives_are_found_for_the_right_reason():
    found = reasons(EXAMPLES["bad"])
    right = [mine == row[3] for mine, row in zip(found, EXAMPLES["bad"], strict=True)]
    assert len(right) > 100 and sum(right) / len(right) >= 0.95


@pytest.mark.parametrize("kind", ["thinking", "refusal", "boilerplate", "leaked", "script", "language"])
def test_of_every_kind_nine_in_ten_are_found(kind):
    rows = [row for row in EXAMPLES["bad"] if row[3] == kind]
    assert len(rows) >= 5 and sum(mine == kind for mine in reasons(rows)) / len(rows) >= 0.9


def test_no_good_positive_is_lost():
    found = reasons(EXAMPLES["good"])
    assert len(found) >= 60
    assert [row for row, mine in zip(EXAMPLES["good"], found, strict=True) if mine] == []


def test_without_filters_only_empty_and_repeated_positives_go():
    found = judge_pairs(
        [row[2] for row in EXAMPLES["good"]], [row[2] for row in EXAMPLES["bad"]][: len(EXAMPLES["good"])],
        ["simple"] * len(EXAMPLES["good"]), OFF, {},
    )  # fmt: skip
    assert set(found) == {None}


def test_anchors_that_talk_like_a_model_may_have_positives_that_do():
    anchor, positive = "Sure! I'd be happy to help you with the wash.", "Sure! I will help you to wash."
    assert reason(positive, refusal=True) == "boilerplate"
    assert reason(positive, text=anchor, refusal=True) is None


# Each filter


@pytest.mark.parametrize(
    ("positive", "found"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("... !?", "empty"),
        ("only three words", "short"),
        ("短い文", "short"),
        ("The graph has four nodes, and six edges", "echo"),
        ("the  GRAPH has four nodes and six edges!", "echo"),
        ("the graph has four nodes and six edge", "echo"),
        ("go on go on go on go on go on go on", "repeats"),
        ("word by word it says far more than the sentence did " + " ".join(map(str, range(50))), "length"),
        ("a wholly different sentence about the oven", None),
    ],
)
def test_each_fault_has_its_reason(positive, found):
    assert reason(positive, min_words=4, max_echo=0.8, length_ratio=[0.2, 5]) == found


@pytest.mark.parametrize(("style", "found"), [("swap", None), ("simple", "echo")])
def test_styles_that_echo_by_intent_are_not_held_to_it(style, found):
    answer = judge_pairs([ANCHOR], [ANCHOR], [style], ALL, {}, echoing=frozenset({"identity", "swap"}))
    assert answer == [found]


def test_of_identity_pairs_only_emptiness_is_asked():
    texts = ["word", "Sure! Here is the answer:", "go on go on go on go on go on", " . "]
    assert judge_pairs(texts, texts, ["identity"] * 4, {**ALL, "min_words": 3}, {}) == [None, None, None, "empty"]


@pytest.mark.parametrize(
    ("most", "found"), [(None, None), (1.0, None), (0.9, "echo"), (0.0, "echo")], ids=["off", "equal", "near", "any"]
)
def test_the_echo_bound_is_a_share_of_the_longer_text(most, found):
    # One letter of 38 differs: similarity 37/38 = 0.974.
    assert reason("the graph has four nodes and six edge", max_echo=most) == found


def test_equal_words_are_an_echo_under_any_bound():
    assert reason("the graph has four NODES and six edges", max_echo=1.0) == "echo"


def test_an_echo_of_a_huge_text_is_found_by_its_beginning():
    rng = random.Random(0)
    huge = " ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(15_000))
    other = " ".join("".join(rng.choices("ijklmnop", k=6)) for _ in range(15_000))
    assert echo(huge, huge.upper() + "!", 0.8)
    assert not echo(huge, other, 0.8)
    assert not echo(huge, "abcdef", 0.8)


def test_a_leak_counts_only_where_the_anchor_does_not_say_it():
    positive = "Rewrite the sentence below in simpler language, says the teacher."
    assert reason(positive, leaked=True) == "leaked"
    assert reason(positive, text="He says: rewrite the sentence below in simpler language.", leaked=True) is None


def test_a_leak_is_held_against_its_own_instruction():
    positive = "Rewrite the sentence below in simpler language, says the teacher."
    assert reason(positive, style="question", leaked=True) is None
    assert reason(positive, style="halves", leaked=True) is None


def test_the_slot_and_the_text_are_no_part_of_an_instruction():
    (only,) = instruction_triples("Say this again: {text}\n\nUse as few words as you can, please.")
    assert ("use", "as", "few") in only and not any("text" in triple for triple in only)


@pytest.mark.parametrize(
    ("ratio", "found"), [([0.5, 2], None), ([0.9, 2], "length"), ([0.1, 0.7], "length"), (None, None)]
)
def test_the_length_ratio_is_words_to_words(ratio, found):
    assert reason("six words for a graph of", length_ratio=ratio) == found  # 6 of 8


def test_lengths_are_fair_between_scripts():
    chinese, english = "我们提出一种测量表面张力的新方法", "We propose a new method for measuring surface tension"
    thai = "เราเสนอวิธีการใหม่สำหรับการวัดความตึงผิว"
    for text in (chinese, thai):
        assert 0.7 < word_count(text) / word_count(english) < 1.4


# Words, scripts, languages


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don't stop, x_1!", ["don", "t", "stop", "x_1"]),
        ("naïve CAFÉ", ["naïve", "café"]),
        ("新しい BERT", ["新", "し", "い", "bert"]),
        ("हिन्दी वाक्य", ["हिन्दी", "वाक्य"]),
        ("ＦＵＬＬ ﬁt", ["full", "fit"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("\U0001f642 —!", []),
    ],
)
def test_words_of_every_script(text, wanted):
    assert words(text) == wanted


def test_plain_text_takes_a_quicker_way_to_the_same_words():
    for text in [ANCHOR, "a_b C-d e'f 1.5", "\x00\x1f tab\tnew\n", *EXAMPLES["anchors"].values()]:
        assert words(text) == words(text + " é")[:-1] and word_count(text) == word_count(text + " é") - 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (ANCHOR, "LATIN"), ("Привет, world!", "CYRILLIC"), ("東京タワーへ行く", "CJK"), ("カタカナ", "CJK"),
        ("한국어", "HANGUL"), ("مرحبا", "ARABIC"), ("𝑥 + 𝑦", "LATIN"), ("1 + 1 = 2 🙂", None), ("", None),
    ],
)  # fmt: skip
def test_the_script_is_that_of_most_letters(text, wanted):
    assert script(text) == wanted


def test_a_few_foreign_letters_change_no_script():
    assert reason("The angle α is the sum of β and γ, as 東京 shows", script=True) is None
    assert reason("42 + 1 = 43", script=True) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (ANCHOR, "en"),
        ("Der Graph hat vier Knoten und sechs Kanten.", "de"),
        ("Le graphe a quatre sommets et six arêtes.", "fr"),
        ("这个图有四个节点和六条边。", "zh"),
        ("p = q", None),
        ("12 + 30 = 42", None),
        ("", None),
    ],
)
def test_a_language_is_told_where_it_is_clear(text, wanted):
    assert language(text) == wanted


def test_neighbouring_languages_are_not_told_apart():
    norwegian, danish = "Jeg liker ikke å gå på skolen i dag.", "Jeg kan ikke lide at gå i skole i dag."
    assert (language(norwegian), language(danish)) == ("no", "da")
    assert not other_language(norwegian, danish)
    assert other_language(ANCHOR, danish) and other_language(norwegian, ANCHOR)


def test_noise_changes_no_language():
    noisy = "Tge grqph has foir nodes amd sx edgs, as seen in te figure of the paper."
    assert reason(noisy, language=True, script=True) is None


# Odd texts, and many of them


@pytest.mark.parametrize("odd", ODD, ids=lambda text: ascii(text[:12]))
def test_no_text_is_too_odd(odd):
    before = str(odd)
    for text, positive in ((ANCHOR, odd), (odd, ANCHOR), (odd, odd)):
        assert judge_pairs([text], [positive], ["simple"], {**ALL, "max_echo": 0.1}, EXAMPLES["instructions"])[0] in {
            None,
            *REASONS,
        }
    assert odd == before
    assert first_uses([odd, odd]) == [True, False]


def test_every_line_of_the_book_has_bounded_repeats():
    # An unbounded repeat is what makes a pattern slow on a long text; `\w+` ends at the next space.
    for kind in ("refusal", "boilerplate"):
        for lines in yaml.safe_load(book.BOILERPLATE_FILE.read_text(encoding="utf-8"))[kind].values():
            for line in lines:
                assert not re.search(r"(?<!\\w)[*+](?!\?)|\{\d+,\}", re.sub(r"\\[*+]|\[[^\]]*\]", "x", line)), line


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({"start": ["(open"]}, r"refusal\.start: '\(open': .*; fix the expression"),
        ({"start": ["Capital"]}, r"refusal\.start: 'Capital' has capitals; write it in lower case"),
        ({"middle": ["x"]}, r"refusal\.middle: no such place; use start, end, anywhere"),
    ],
)
def test_a_bad_line_of_the_book_is_named(lines, told, tmp_path, monkeypatch):
    path = tmp_path / "boilerplate.yaml"
    path.write_text(yaml.safe_dump({"refusal": lines, "boilerplate": {"start": ["x"]}}))
    monkeypatch.setattr(book, "BOILERPLATE_FILE", path)
    book._lines.cache_clear()
    try:
        with pytest.raises(PromptpoolError, match=told) as caught:
            book.boilerplate("a", "b")
        assert "\n" not in str(caught.value)
    finally:
        book._lines.cache_clear()


def test_workers_and_chunks_change_nothing(monkeypatch):
    rows = EXAMPLES["bad"] + EXAMPLES["good"]
    whole = reasons(rows)
    monkeypatch.setattr(filters_module, "PAIRS_A_CHUNK", 20)
    texts, positives = [EXAMPLES["anchors"][row[0]] for row in rows], [row[2] for row in rows]
    seen = []
    answer = judge_pairs(
        texts, positives, [row[1] for row in rows], ALL, EXAMPLES["instructions"], workers=2,
        progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert answer == whole
    assert seen[0] == (20, len(rows)) and seen[-1] == (len(rows), len(rows))


def test_no_rows_have_no_reasons():
    assert judge_pairs([], [], [], ALL, {}) == []


def test_rows_of_unlike_numbers_are_refused():
    with pytest.raises(ValueError, match="longer"):
        judge_pairs(["a"], ["b", "c"], ["simple"], ALL, {})


def test_reasons_are_named_once_and_judge_gives_no_other():
    assert len(set(REASONS)) == len(REASONS)
    assert {row[3] for row in EXAMPLES["bad"]} <= set(REASONS)


def test_the_first_use_of_a_text_is_told_from_the_next():
    assert first_uses(["A b", "a  B.", "c"]) == [True, False, True]
