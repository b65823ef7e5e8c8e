"""The one-pass engine: what it gives is what separate, plain forward passes give."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_pooling import pool
from promptpool.embedding import tree_attention as forward
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.packing import Trunk, pack_trunks, plant
from promptpool.embedding.pooling import POOLINGS
from promptpool.embedding.token_budget import TokenBudget
from promptpool.errors import PromptpoolError
from promptpool.models.backbone import Backbone, load_backbone
from promptpool.templates import Template
from promptpool.variants import layer_number
from safetensors.torch import load_file, save_file
from tiny import TEXTS, tiny_adapter, tiny_model
from transformers import AutoModel

PROMPTS = {
    "none": "{text}",
    "eol": 'This sentence: "{text}" means in one word:',
    "cluster": 'This sentence: "{text}" belongs to the following cluster:',
    "tail": "{text} is about",
}
LAYERS = [-1, 1, 0]
MANY = [*TEXTS, "x", "\U0001f680 naïve 日本語", "the graph " * 30]
LIMIT = 24
ARCHITECTURES = ["qwen3", "llama", "mistral", "gpt_neox", "gpt2", "gemma2", "gemma3"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def of(architecture: str, bos: bool = True):
        path = folder / f"{architecture}-{bos}"
        return path if path.exists() else tiny_model(path, architecture, bos=bos, layers=3)

    return of


@pytest.fixture(scope="module")
def qwen(models) -> Embedder:
    return Embedder.load(str(models("qwen3")), device="cpu", dtype="float32", max_text_tokens=LIMIT)


def plain_vectors(path, embedder: Embedder, texts, prompts, layers) -> dict:
    """One unpadded eager forward for each text, prompt and ending: slow, and beyond doubt."""
    model = AutoModel.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    found: dict = {}
    for name, template in prompts.items():
        for text in texts:
            for eos in (False, True):
                ids = embedder.composer.compose(Template.parse(name, template), text, eos).ids
                with torch.no_grad():
                    out = model(torch.tensor([ids]), output_hidden_states=True, output_attentions=True)
                mask = torch.ones(1, len(ids), dtype=torch.bool)
                for layer in layers:
                    number = layer_number(layer, len(out.attentions))
                    row = out.attentions[max(number, 1) - 1][:, :, -1].mean(1)
                    for pooling in POOLINGS:
                        if (pooling == "eos") == eos:
                            vector = pool(pooling, out.hidden_states[number], mask, row)
                            found.setdefault((name, pooling, layer), []).append(vector[0].numpy())
    return {key: np.stack(rows) for key, rows in found.items()}


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no-bos"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_pass_equals_separate_plain_passes(models, architecture, bos):
    path = models(architecture, bos)
    embedder = Embedder.load(str(path), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    grid = embedder.grid(MANY, PROMPTS, POOLINGS, LAYERS)
    plain = plain_vectors(path, embedder, MANY, PROMPTS, LAYERS)
    assert set(grid) == set(plain)
    worst = {key: relative(grid[key], plain[key]) for key in plain}
    assert {key: value for key, value in worst.items() if not value < 1e-5} == {}


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma2", "gpt2"])
def test_long_tiles_attend_in_parts_and_give_the_same(models, architecture, monkeypatch):
    """Grouped heads, one head a key, soft caps, windows: a part's end falls in trunks, in branches and in padding."""
    embedder = Embedder.load(str(models(architecture)), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    wanted = plain_vectors(models(architecture), embedder, MANY, PROMPTS, LAYERS)
    work = embedder._work

    def padded(*given):  # as on a GPU: tiles hold padding
        found = work(*given)
        return replace(found, layout=replace(found.layout, slack=0.5))

    monkeypatch.setattr(embedder, "_work", padded)
    monkeypatch.setattr(embedder.batches, "budget", TokenBudget(4_096))
    for queries in (1, 7, 1_000):
        monkeypatch.setattr(forward, "QUERIES", queries)
        grid = embedder.grid(MANY, PROMPTS, POOLINGS, LAYERS)
        assert max(relative(grid[key], wanted[key]) for key in wanted) < 1e-5


def test_no_part_computes_the_keys_behind_it():
    assert forward._parts(257) == [slice(0, 86), slice(86, 172), slice(172, 257)]
    assert forward._parts(128) == [slice(0, 128)] and forward._parts(1) == [slice(0, 1)]


def test_variants_of_the_grid_are_different_vectors(qwen):
    grid = qwen.grid(TEXTS, PROMPTS, POOLINGS, LAYERS)
    seen = {key: matrix.round(4).tobytes() for key, matrix in grid.items()}
    alike = [(a, b) for a in seen for b in seen if a < b and seen[a] == seen[b]]
    # Layer 0 knows no context: there every EOS, and every last token of the same kind, is the same vector.
    assert {layer for pair in alike for _, _, layer in pair} <= {0}


def test_rows_are_in_the_order_of_the_texts(qwen):
    forwards = qwen.encode(MANY, PROMPTS["eol"], "last")
    backwards = qwen.encode(MANY[::-1], PROMPTS["eol"], "last")
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_equal_texts_have_equal_vectors_and_are_embedded_once(qwen):
    counted = []
    grid = qwen.grid([*TEXTS, *TEXTS], {"none": "{text}"}, progress=lambda done, total: counted.append((done, total)))
    rows = grid["none", "mean", -1]
    np.testing.assert_array_equal(rows[: len(TEXTS)], rows[len(TEXTS) :])
    assert counted[-1] == (len(TEXTS), len(TEXTS))


@pytest.mark.parametrize("budget", [1, 60, 100_000])
def test_batch_composition_does_not_matter(models, qwen, budget):
    other = Embedder.load(
        str(models("qwen3")), device="cpu", dtype="float32", max_text_tokens=LIMIT, token_budget=budget
    )
    grid, wanted = (engine.grid(MANY, PROMPTS, POOLINGS) for engine in (other, qwen))
    assert max(relative(grid[key], wanted[key]) for key in wanted) < 1e-5


def test_other_prompts_of_the_family_do_not_matter(qwen):
    together = qwen.grid(MANY, PROMPTS, POOLINGS)
    for name, template in PROMPTS.items():
        alone = qwen.grid(MANY, {name: template}, POOLINGS)
        assert max(relative(alone[key], together[key]) for key in alone) < 1e-5


def test_an_out_of_memory_batch_is_halved_and_nothing_is_lost(qwen, models):
    other = Embedder.load(str(models("qwen3")), device="cpu", dtype="float32", max_text_tokens=LIMIT)

    assert other.batches.takes_trees
    failed = []

    def small_memory(_module, _args, kwargs):
        tokens = kwargs["input_ids"].shape[1]
        if tokens > 100:
            failed.append(tokens)
            raise torch.OutOfMemoryError("no room for more than a hundred tokens")

    other.backbone.model.register_forward_pre_hook(small_memory, with_kwargs=True)
    found = other.encode(MANY, PROMPTS["eol"], "mean")
    assert relative(found, qwen.encode(MANY, PROMPTS["eol"], "mean")) < 1e-5
    assert len(failed) in (1, 2)  # one lesson, or two, serve all later batches


def test_normalised_vectors_have_length_one(qwen):
    rows = qwen.grid(TEXTS, PROMPTS, ["mean"], normalize=True)["eol", "mean", -1]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    assert rows.dtype == np.float32


def test_an_unknown_pooling_is_named(qwen):
    with pytest.raises(PromptpoolError, match="unknown pooling 'lst'; use one of mean, last"):
        qwen.grid(TEXTS, PROMPTS, ["mean", "lst"])


def test_a_layer_outside_the_model_is_named(qwen):
    with pytest.raises(PromptpoolError, match="layers: 4 is outside this model of 3 layers"):
        qwen.grid(TEXTS, PROMPTS, ["mean"], [4])


def test_a_text_without_a_token_is_named(models):
    engine = Embedder.load(str(models("qwen3", bos=False)), device="cpu", dtype="float32")
    with pytest.raises(PromptpoolError, match="'' has no token under prompt 'none'"):
        engine.grid(["a graph", ""], {"none": "{text}"})


def test_an_empty_text_is_fine_where_the_prompt_has_tokens(qwen):
    assert np.isfinite(qwen.encode(["", "a graph"], PROMPTS["eol"], "attention")).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_vector_that_is_not_finite_names_its_text(models, pooling):
    engine = Embedder.load(str(models("qwen3")), device="cpu", dtype="float32")
    spoilt = engine.composer.piece("z")[0]
    with torch.no_grad():
        engine.backbone.model.embed_tokens.weight[spoilt] = float("nan")
    with pytest.raises(PromptpoolError) as caught:
        engine.grid(["a graph", "a node", "zzz"], {"none": "{text}"}, [pooling])
    assert "'zzz'" in str(caught.value) and "not finite" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_precision_runs_and_stays_close(models, qwen):
    half = Embedder.load(str(models("qwen3")), device="cpu", dtype="bfloat16", max_text_tokens=LIMIT)
    assert half.backbone.model.dtype == torch.bfloat16
    grid, wanted = (engine.grid(MANY, PROMPTS, POOLINGS) for engine in (half, qwen))
    for key, rows in grid.items():
        assert rows.dtype == np.float32
        cosine = (rows * wanted[key]).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(wanted[key], axis=1)
        assert cosine.min() > 0.98, key


def test_another_attention_implementation_gives_the_same_vectors(models, qwen):
    # The tree mask also goes through stock attention, as an additive mask.
    stock = load_backbone(str(models("qwen3")), device="cpu", attention="sdpa")
    found = Embedder(stock, LIMIT).grid(MANY, PROMPTS, ["mean", "last", "eos"], LAYERS)
    wanted = qwen.grid(MANY, PROMPTS, ["mean", "last", "eos"], LAYERS)
    assert max(relative(found[key], wanted[key]) for key in found) < 1e-5


@pytest.fixture(scope="module")
def adapter(models, tmp_path_factory):
    return tiny_adapter(tmp_path_factory.mktemp("adapters") / "real", models("qwen3"))


def test_an_adapter_changes_the_vectors(models, adapter, qwen):
    tuned = Embedder.load(str(models("qwen3")), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    assert relative(tuned.encode(TEXTS), qwen.encode(TEXTS)) > 1e-2


def test_a_merged_adapter_equals_the_adapter_beside_its_model(models, adapter):
    from peft import PeftModel

    base = load_backbone(str(models("qwen3")), device="cpu", attention="promptpool_tree")
    beside = PeftModel.from_pretrained(base.model, str(adapter)).eval()
    tuned = Embedder.load(str(models("qwen3")), str(adapter), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    unmerged = Embedder(Backbone(beside.base_model.model, base.tokenizer, base.device), LIMIT)
    assert relative(tuned.encode(TEXTS), unmerged.encode(TEXTS)) < 1e-5


def test_an_adapter_that_is_all_zero_is_refused(models, tmp_path):
    path = tiny_adapter(tmp_path / "zero", models("qwen3"), scale=0)
    with pytest.raises(PromptpoolError, match="all zero"):
        load_backbone(str(models("qwen3")), adapter=path, device="cpu", dtype="float32")


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_an_adapter_whose_keys_do_not_fit_is_refused(models, adapter, tmp_path, change):
    path = shutil.copytree(adapter, tmp_path / "broken")
    weights = load_file(path / "adapter_model.safetensors")
    first = sorted(weights)[0]
    tensor = weights.pop(first)
    if change == "foreign":
        weights[first.replace("layers.0", "layers.9")] = tensor
    save_file(weights, path / "adapter_model.safetensors")
    with pytest.raises(PromptpoolError, match=r"layers\.[09].* has no place"):
        load_backbone(str(models("qwen3")), adapter=path, device="cpu", dtype="float32")


def test_an_encoder_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(PromptpoolError, match="not a decoder-only model"):
        load_backbone(str(tmp_path), device="cpu", dtype="float32")


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("mistral", {"sliding_window": 12}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 0}),
        ("gemma2", {"sliding_window": 12}),
        ("gemma3", {"sliding_window": 12}),
    ],
    ids=["all layers", "some layers", "all layers by type", "gemma2", "gemma3"],
)
def test_a_sliding_window_is_kept(tmp_path, architecture, changes):
    path = tiny_model(tmp_path / "model", architecture, layers=3, **changes)
    embedder = Embedder.load(str(path), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    grid = embedder.grid(MANY, PROMPTS, POOLINGS, LAYERS)
    plain = plain_vectors(path, embedder, MANY, PROMPTS, LAYERS)
    assert max(relative(grid[key], plain[key]) for key in plain) < 1e-5


def test_a_model_that_takes_no_tree_mask_gets_a_pass_for_each_prompt_and_says_so_once(tmp_path):
    path = tiny_model(tmp_path / "model", "bloom", layers=3)
    embedder = Embedder.load(str(path), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        grid = embedder.grid(MANY, PROMPTS, POOLINGS, LAYERS)
        embedder.grid(TEXTS, PROMPTS)
    said = [str(warning.message) for warning in told if "tree mask" in str(warning.message)]
    assert len(said) == 1 and "BloomModel" in said[0] and "\n" not in said[0]
    plain = plain_vectors(path, embedder, MANY, PROMPTS, LAYERS)
    assert max(relative(grid[key], plain[key]) for key in plain) < 1e-5


def test_a_recurrent_model_gets_a_pass_for_each_prompt(tmp_path):
    path = tiny_model(tmp_path / "model", "mamba", layers=3)
    embedder = Embedder.load(str(path), device="cpu", dtype="float32", max_text_tokens=LIMIT)
    with pytest.warns(UserWarning, match="MambaModel does not run under a tree mask"):
        grid = embedder.grid(TEXTS, PROMPTS, ["mean", "last", "eos"])
    for name, template in PROMPTS.items():
        for row, text in enumerate(TEXTS):
            ids = torch.tensor([embedder.composer.compose(Template.parse(name, template), text).ids])
            with torch.no_grad():
                states = AutoModel.from_pretrained(path, dtype=torch.float32).eval()(ids).last_hidden_state[0]
            assert relative(grid[name, "last", -1][row], states[-1].numpy()) < 1e-5
    with pytest.raises(PromptpoolError, match="pooling attention needs weights"):
        embedder.grid(TEXTS, PROMPTS, ["attention"])


def test_the_engines_attention_is_never_run_outside_its_pass(qwen):
    # It would not know who may attend to whom.
    with pytest.raises(ValueError, match=r"only inside forward\.run"):
        qwen.backbone.model(torch.tensor([[5, 6, 7]]))


def test_attention_with_sinks_is_refused():
    states = torch.ones(1, 1, 2, 4)
    token = forward._plan.set(forward._Plan(pack_trunks([Trunk((1, 2), 0, 2)], plant([]), 0), forward.Head()))
    with pytest.raises(PromptpoolError, match="attention sinks"):
        forward.tree_attention(torch.nn.Linear(1, 1), states, states, states, None, s_aux=1)
    forward._plan.reset(token)
