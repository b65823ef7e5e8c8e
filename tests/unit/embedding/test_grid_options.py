"""What else a grid may ask for: text spans, shares of the depth, echoes, joint ids; and texts that are odd."""

import time

import numpy as np
import pytest
import torch
from plain_pooling import pool
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.token_budget import TokenBudget
from promptpool.errors import PromptpoolError
from promptpool.models.memory import is_out_of_memory
from promptpool.templates import Template, normalised, well_formed
from promptpool.variants import POOLING_KEYS, key_text, layer_number, parse_key, split_pooling
from test_embedder import relative
from tiny import TEXTS, tiny_model
from transformers import AutoModel

LIMIT = 12
PROMPTS = {
    "eol": 'This sentence: "{text}" means in one word:',
    "echo": 'Say "{text}" again: "{text}" and',
    "none": "{text}",
}
SPANNED = [key for key in POOLING_KEYS if key.endswith(":text")]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("models") / "qwen3", layers=4))


@pytest.fixture(scope="module")
def engine(path) -> Embedder:
    return Embedder.load(path, device="cpu", dtype="float32", max_text_tokens=LIMIT)


@pytest.fixture(scope="module")
def plain(path):
    return AutoModel.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def states_of(plain, ids, number: int = -1):
    with torch.no_grad():
        out = plain(torch.tensor([list(ids)]), output_hidden_states=True, output_attentions=True)
    return out.hidden_states[number], out.attentions[number][:, :, -1].mean(1)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_text_span_pools_the_texts_tokens_alone(engine, plain, prompt):
    grid = engine.grid(TEXTS, {prompt: PROMPTS[prompt]}, SPANNED)
    template = Template.parse(prompt, PROMPTS[prompt])
    for row, text in enumerate(TEXTS):
        made = engine.composer.compose(template, text)
        states, weights = states_of(plain, made.ids)
        mask = torch.tensor([[span == "text" for span in made.spans()]])
        assert int(mask.sum()) == made.text > 0
        for key in SPANNED:
            name = split_pooling(key)[0]
            if name == "attention":  # the sink is the sequence's first token, and here no part of the text
                own = weights[0] * mask[0]
                wanted = (own / own.sum()) @ states[0]
            else:
                wanted = pool(name, states, mask)[0]
            assert relative(grid[prompt, key, -1][row], wanted.numpy()) < 1e-5, key


def test_an_echo_reads_the_text_twice_and_pools_the_second(engine, plain):
    template = Template.parse("echo", PROMPTS["echo"])
    made = engine.composer.compose(template, TEXTS[0])
    text = engine.composer.texts([TEXTS[0]])[0]
    ids = list(made.ids)
    assert [ids[i : i + len(text)] for i in range(len(ids))].count(text) == 2
    spans = made.spans()
    assert spans.index("text") > len(ids) // 2
    states, _ = states_of(plain, ids)
    found = engine.grid(TEXTS[:1], {"echo": PROMPTS["echo"]}, ["mean", "last", "mean:text"])
    assert relative(found["echo", "mean", -1][0], states[0].mean(0).numpy()) < 1e-5
    assert relative(found["echo", "last", -1][0], states[0, -1].numpy()) < 1e-5


def test_an_echo_written_out_is_the_same_model_input(engine):
    echo = engine.encode(["a graph"], "{text} {text}", "last")
    ids = engine.composer.compose(Template.parse("p", "{text} {text}"), "a graph").ids
    piece = engine.composer.piece
    assert list(ids) == [*engine.composer.bos_ids, *piece("a graph"), *piece(" "), *piece("a graph")]
    assert np.isfinite(echo).all()


@pytest.mark.parametrize(
    ("layer", "number"), [(-1, 4), (-2, 3), (0, 0), (2, 2), (0.5, 2), (0.1, 0), (0.9, 4), (0.375, 2)]
)
def test_a_layer_is_a_number_or_a_share_of_the_depth(engine, layer, number):
    assert layer_number(layer, 4) == number
    both = engine.grid(TEXTS, {"none": "{text}"}, ["mean"], [layer, number])
    np.testing.assert_allclose(both["none", "mean", layer], both["none", "mean", number])


@pytest.mark.parametrize("layer", [0.0, 1.0, 1.5, -0.5])
def test_a_share_outside_the_depth_is_refused(layer):
    with pytest.raises(PromptpoolError, match="not a share of the depth"):
        layer_number(layer, 4)


def test_layers_beyond_the_deepest_asked_one_do_not_run(path):
    engine = Embedder.load(path, device="cpu", dtype="float32")
    wanted = engine.encode(TEXTS, layer=2)
    with torch.no_grad():
        engine.backbone.model.layers[2].mlp.up_proj.weight.fill_(float("nan"))
    np.testing.assert_array_equal(engine.encode(TEXTS, layer=2), wanted)
    with pytest.raises(PromptpoolError, match="not finite"):
        engine.encode(TEXTS, layer=3)


@pytest.mark.parametrize("key", [("p", "mean:text", -1), ("p", "mean", 0.5), ("p", "last", 12)])
def test_a_key_is_read_as_it_was_written(key):
    assert parse_key(key_text(key)) == key
    assert key_text(("p", "mean", -1.0)) == key_text(("p", "mean", -1)) == "p/mean/-1"


def test_joint_tokenization_is_bos_and_the_formatted_string(path, plain):
    joint = Embedder.load(path, device="cpu", dtype="float32", max_text_tokens=LIMIT, tokenization="joint")
    assert not joint.exportable
    grid = joint.grid(TEXTS, PROMPTS, ["last", "mean", "eos"])
    for row, text in enumerate(TEXTS):
        cut = joint.composer.tokenizer.decode(joint.composer.texts([text])[0])
        ids = joint.composer.tokenizer(PROMPTS["eol"].replace("{text}", cut))["input_ids"]
        for eos in (False, True):
            states, _ = states_of(plain, [*ids, joint.composer.eos_id] if eos else ids)
            assert relative(grid["eol", "eos" if eos else "last", -1][row], states[0, -1].numpy()) < 1e-5
    with pytest.raises(PromptpoolError, match="joint has no text span"):
        joint.grid(TEXTS, PROMPTS, ["mean:text"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a graph", "a graph."),
        ("Is it?", "Is it."),
        ('He said "no"', "He said 'no'"),
        ("Done.", "Done."),
        ("", ""),
        ("wow!", "wow!."),
    ],
)
def test_prompteol_normalises_as_its_code_does(text, wanted):
    assert normalised(text, "prompteol") == wanted
    assert normalised(text, "none") == text


def test_normalised_texts_are_what_the_model_reads(path, engine):
    other = Embedder.load(path, device="cpu", dtype="float32", max_text_tokens=LIMIT, text_normalisation="prompteol")
    assert not other.exportable and engine.exportable
    assert relative(other.encode(["a graph"]), engine.encode(["a graph."])) < 1e-6
    assert relative(other.encode(["a graph"]), engine.encode(["a graph"])) > 1e-3


ODD = {"space": " ", "line breaks": "\n\n\t", "NUL": "a\x00b", "only NUL": "\x00", "surrogate": "a \ud800 b"}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_an_odd_text_has_a_vector_of_its_own_and_spoils_no_other(engine, text):
    grid = engine.grid([text, "a graph"], PROMPTS, [*POOLING_KEYS])
    alone = engine.grid(["a graph"], PROMPTS, [*POOLING_KEYS])
    for key, rows in grid.items():
        assert np.isfinite(rows).all(), key
        assert relative(rows[1], alone[key][0]) < 1e-5, key


def test_a_lone_surrogate_reads_as_a_replacement_character_and_a_pair_as_what_it_means(engine):
    assert well_formed("a \ud800 b") == "a \ufffd b"
    assert well_formed("\ud83d\ude80") == "\U0001f680"
    assert relative(engine.encode(["a \ud800 b"]), engine.encode(["a \ufffd b"])) < 1e-6


def test_an_empty_text_has_a_vector_where_its_prompt_has_tokens(engine, plain):
    whole = [key for key in POOLING_KEYS if ":" not in key]
    grid = engine.grid(["a graph", ""], PROMPTS, whole)
    for name, template in PROMPTS.items():
        ids = engine.composer.compose(Template.parse(name, template), "").ids
        states, weights = states_of(plain, ids)
        mask = torch.ones(1, len(ids), dtype=torch.bool)
        for key in set(whole) - {"eos"}:
            assert relative(grid[name, key, -1][1], pool(key, states, mask, weights)[0].numpy()) < 1e-5, (name, key)


def test_an_empty_text_has_no_text_span(engine):
    with pytest.raises(PromptpoolError, match=r"texts: '' has no token under prompt 'eol' for pooling mean:text"):
        engine.grid(["a graph", ""], {"eol": PROMPTS["eol"]}, ["mean:text"])


def test_a_text_of_a_megabyte_is_cut_like_any_other(engine):
    long = "the graph " * 100_000
    started = time.monotonic()
    assert relative(engine.encode([long]), engine.encode(["the graph " * 20])) < 1e-6
    assert time.monotonic() - started < 120


def test_a_budget_halves_on_failure_and_comes_back_slowly():
    budget = TokenBudget(1000)
    budget.failed(900)
    assert budget.tokens == 450
    for _ in range(200):
        budget.worked(budget.tokens)
    assert 450 < budget.tokens <= 675  # three quarters of what failed, and never more


def test_a_budget_grows_while_twice_the_memory_is_there():
    memory = {"share": 0.1}
    budget = TokenBudget(1000, most=100_000, share=lambda: memory["share"])
    budget.worked(100)  # a batch that did not fill it says nothing
    assert budget.tokens == 1000
    budget.worked(1000)
    assert budget.tokens == 2000
    memory["share"] = 0.5
    budget.worked(2000)
    assert budget.tokens == 2000


def test_a_text_that_fits_in_no_memory_is_an_error_that_says_what_to_do(path):
    engine = Embedder.load(path, device="cpu", dtype="float32")
    assert engine.batches.takes_trees

    def none(_module, _args, _kwargs):
        raise torch.OutOfMemoryError("no room")

    engine.backbone.model.register_forward_pre_hook(none, with_kwargs=True)
    with pytest.raises(PromptpoolError, match="does not fit in the memory of cpu; lower max_text_tokens"):
        engine.encode(TEXTS)


def test_only_a_lack_of_memory_is_taken_for_one():
    assert is_out_of_memory(torch.OutOfMemoryError()) and is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_chunks_hold_few_texts_and_together_all(engine):
    many = [f"text {number}" for number in range(30)]
    wanted = engine.grid(many, PROMPTS, ["mean"])
    parts = list(engine.chunks(many, PROMPTS, ["mean"], [-1], skip=lambda rows: rows.start == 10, size=10))
    assert [rows for rows, _ in parts] == [range(0, 10), range(20, 30)]
    for rows, part in parts:
        for key, matrix in part.items():
            np.testing.assert_allclose(matrix, wanted[key][rows.start : rows.stop], rtol=1e-4, atol=1e-5)
