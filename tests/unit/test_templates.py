"""Templates: one slot, families by prefix, and ids that are composed piece by piece."""

import pytest
from promptpool.errors import PromptpoolError
from promptpool.templates import Composer, Template, families, family_name, format_joint, leading_special_ids
from tiny import tiny_tokenizer

SENTENCE = 'This sentence: "{text}" belongs to:'
LONG = "the weighted nodes of a graph are returned in order, each of them once " * 20
ODD = [
    "",
    " ",
    "  two  spaces ",
    '"quoted"',
    "naïve café",
    "\U0001f642\U0001f680",
    "日本語",
    "line\nbreak\ttab",
    "{}",
    LONG,
]


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no-bos"])
def composer(request) -> Composer:
    return Composer(tiny_tokenizer(bos=request.param), max_text_tokens=12)


@pytest.mark.parametrize(
    ("template", "count"), [("Cluster the text:", 0), ("{text}, {text} and {text}", 3), ("{ text }", 0)]
)
def test_a_template_needs_one_slot_or_two(template, count):
    with pytest.raises(PromptpoolError) as caught:
        Template.parse("cluster", template)
    told = str(caught.value)
    assert told == f"prompts.cluster: the template needs {{text}} once, or twice to echo; it has {count}: {template!r}"
    assert "\n" not in told


def test_a_line_break_in_a_bad_template_stays_on_one_line():
    with pytest.raises(PromptpoolError) as caught:
        Template.parse("p", "first\nsecond")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("template", ["{text}", 'a {b} "{text}" {}', "{{{text}}}", "{text}\n\n", "%s {0} {text}"])
def test_other_braces_stay_plain_text(template):
    parsed = Template.parse("p", template)
    assert str(parsed) == template
    assert parsed.prefix + "x" + parsed.suffix == template.replace("{text}", "x")


def test_prompts_that_share_a_prefix_are_one_family():
    found = families({"b": "This: {text} means", "a": "This: {text}", "none": "{text}", "c": "That: {text}"})
    assert {f.prefix: [t.name for t in f.templates] for f in found} == {
        "This: ": ["a", "b"],
        "That: ": ["c"],
        "": ["none"],
    }


def test_the_name_of_a_family_depends_on_its_prefix_alone():
    few = families({"a": "This: {text}"})
    many = families({"z": "This: {text} means", "a": "other {text}", "q": "This: {text} in one word"})
    assert few[0].name in [family.name for family in many]
    assert [f.name for f in families({"renamed": "This: {text}!"})] == [few[0].name]


def test_families_do_not_depend_on_the_order_of_the_prompts():
    prompts = {"b": "This: {text} means", "a": "This: {text}", "none": "{text}"}
    assert families(prompts) == families(dict(reversed(prompts.items())))


def test_family_names_are_fit_for_a_path_and_unlike_for_like_prefixes():
    prefixes = ["", " ", 'This "sentence"', "This sentence", "../..", "日本語", "x" * 500, "a/b"]
    names = [family_name(prefix) for prefix in prefixes]
    assert len(set(names)) == len(prefixes)
    assert all(name.replace("-", "").isalnum() and name.isascii() and len(name) < 60 for name in names)


@pytest.mark.parametrize("eos", [False, True])
@pytest.mark.parametrize("text", ODD)
def test_ids_are_bos_prefix_text_suffix_and_eos(composer, text, eos):
    def plain(piece: str) -> list[int]:
        return composer.tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []

    template = Template.parse("p", SENTENCE)
    made = composer.compose(template, text, eos)
    pieces = [
        composer.bos_ids, plain(template.prefix), plain(text)[:12], plain(template.suffix), [composer.eos_id] * eos
    ]  # fmt: skip
    assert list(made.ids) == [number for piece in pieces for number in piece]
    assert [made.bos, made.prefix, made.text, made.suffix, made.eos] == list(map(len, pieces))


@pytest.mark.parametrize("text", ODD)
def test_every_token_has_its_span(composer, text):
    made = composer.compose(Template.parse("p", SENTENCE), text, eos=True)
    spans = made.spans()
    assert len(spans) == len(made.ids)
    assert spans == sorted(spans, key=["bos", "prefix", "text", "suffix", "eos"].index)
    own = [token for token, span in zip(made.ids, spans, strict=True) if span == "text"]
    assert text.startswith(composer.tokenizer.decode(own).rstrip("�"))


def test_the_text_is_cut_and_the_prompt_never_is(composer):
    template = Template.parse("p", "a prompt much longer than the limit of twelve tokens " * 3 + "{text} and its end")
    made = composer.compose(template, LONG)
    assert made.text == 12
    assert made.prefix == len(composer.piece(template.prefix)) > 12
    assert composer.tokenizer.decode(list(made.ids[-made.suffix :])) == template.suffix


def test_a_bos_stands_only_where_the_tokenizer_adds_one():
    assert leading_special_ids(tiny_tokenizer(bos=True)) == [1]
    assert leading_special_ids(tiny_tokenizer(bos=False)) == []


@pytest.mark.parametrize("text", ODD)
def test_ids_of_prefix_and_text_do_not_depend_on_the_suffix(composer, text):
    heads = set()
    for suffix in ("", '"', " means", "s", "\n", "́"):
        made = composer.compose(Template("p", 'This: "', suffix), text)
        heads.add(made.ids[: made.bos + made.prefix + made.text])
    assert len(heads) == 1


def test_many_texts_have_the_ids_of_each_one_alone(composer):
    together = composer.texts(ODD)
    assert together == [composer.texts([text])[0] for text in ODD]
    assert composer.texts([]) == []


def test_a_tokenizer_without_an_eos_is_refused():
    bare = tiny_tokenizer()
    bare.eos_token = None
    with pytest.raises(PromptpoolError, match="no EOS token"):
        Composer(bare, 12)


def test_a_joint_text_is_cut_and_the_prompt_is_not():
    tokenizer = tiny_tokenizer()
    long = "graph " * 50
    (text,) = format_joint(tokenizer, Template.parse("p", 'This: "{text}" means:'), [long], 6)
    assert text.startswith('This: "') and text.endswith('" means:')
    inside = text.removeprefix('This: "').removesuffix('" means:')
    assert inside == tokenizer.decode(tokenizer(long, add_special_tokens=False)["input_ids"][:6])
