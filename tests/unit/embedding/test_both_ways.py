"""`causal: false`: every token sees the whole text, in embedding, training and exports, or the model is refused."""

import json

import numpy as np
import pytest
import torch
from promptpool.config.resolve import resolve
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.both_ways import remove_causal_mask, sees_all
from promptpool.models.one_way import one_way_reason
from promptpool.scoring.measure_costs import Shape
from promptpool.study.model_checks import require_models
from promptpool.study.study import Study
from promptpool.templates import Template
from promptpool.training.lora import tunable_model
from promptpool.training.rank import train_rank
from sample_config import ROOT, demo
from sentence_transformers import SentenceTransformer
from tiny import TEXTS, tiny_adapter, tiny_model
from tiny_export import LINES, export, parity, tables
from tiny_training import SPEC, call, same, weights, write_pairs
from transformers import AutoModel

PROMPTS = {"none": "{text}", "cluster": 'This sentence: "{text}" belongs to:', "echo": "{text}, again: {text}"}
POOLINGS = ["mean", "last", "eos", "weighted", "max", "concat", "attention", "mean:text"]
REFUSED = {
    "mistral": ({"sliding_window": 64}, "attends within a sliding window of 64 tokens"),
    "gemma2": ({}, "has layers of sliding_attention"),
    "bloom": ({}, "has ALiBi positions"),
    "mamba": ({}, "has layers without attention"),
}


@pytest.fixture(scope="module", params=["llama", "qwen3", "gpt2"])
def folder(request, tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("both_ways") / request.param, request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("both_ways_llama") / "model", "llama"))


def open_states(folder: str, ids) -> list[torch.Tensor]:
    """Each layer's states under an explicit mask of four axes that hides nothing, [tokens, dim]."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    row = torch.tensor([list(ids)])
    nothing_hidden = torch.zeros(1, 1, row.shape[1], row.shape[1])
    with torch.no_grad():
        out = model(row, attention_mask=nothing_hidden, output_hidden_states=True, use_cache=False)
    assert model.config.get_text_config().to_dict().get("is_causal", True)  # the mask alone opens it
    return [states[0] for states in out.hidden_states]


def test_vectors_are_those_of_a_mask_that_hides_nothing(folder):
    engine = Embedder.load(folder, device="cpu", max_text_tokens=16, causal=False)
    found = engine.grid(TEXTS, PROMPTS, POOLINGS, [1, -1])
    assert sees_all(engine.backbone.model) and not engine.batches.takes_trees
    causal = Embedder.load(folder, device="cpu", max_text_tokens=16).grid(TEXTS, PROMPTS, POOLINGS, [1, -1])
    for prompt in ("none", "cluster"):
        for row, text in enumerate(TEXTS):
            parsed = Template.parse(prompt, PROMPTS[prompt])
            plain = open_states(folder, engine.composer.compose(parsed, text).ids)
            ended = open_states(folder, engine.composer.compose(parsed, text, eos=True).ids)
            for layer in (1, -1):
                for pooling, wanted in {
                    "mean": plain[layer].mean(0), "last": plain[layer][-1], "max": plain[layer].amax(0),
                    "eos": ended[layer][-1], "concat": torch.cat([plain[layer][-1], plain[layer].mean(0)]),
                }.items():  # fmt: skip
                    one = found[prompt, pooling, layer][row]
                    assert np.abs(one - wanted.numpy()).max() <= 2e-4 * np.abs(one).max(), (prompt, pooling, layer)
    for key, rows in found.items():
        if key[1:] in (("last", 1), ("eos", 1)):
            continue  # the last token of the first layer sees all tokens either way
        assert np.abs(rows - causal[key]).max() > 1e-2 * np.abs(rows).max(), f"{key} is as with the causal mask"


def test_a_changed_last_word_changes_the_first_token(llama):
    engine = Embedder.load(llama, device="cpu", causal=False)
    one, other = (f"the bread and the {word}" for word in ("oven", "harbour"))

    def first(causal: bool) -> list[np.ndarray]:
        engine = Embedder.load(llama, device="cpu", causal=causal)
        ids = [torch.tensor([engine.composer.texts([text])[0]]) for text in (one, other)]
        engine.backbone.model.config._attn_implementation = "sdpa"
        with torch.no_grad():
            return [engine.backbone.model(row).last_hidden_state[0, 0].numpy() for row in ids]

    seen, changed = first(causal=False)
    assert np.abs(seen - changed).max() > 1e-3
    assert np.array_equal(*first(causal=True))
    text = {"p": "{text} about bread"}
    with_eos = engine.grid([one], text, ["last", "eos"])["p", "last", -1]
    assert np.array_equal(with_eos, engine.grid([one], text, ["last"])["p", "last", -1])  # no EOS was seen


@pytest.mark.parametrize("kind", REFUSED)
def test_an_architecture_that_cannot_is_refused_by_name(kind, tmp_path):
    changes, reason = REFUSED[kind]
    folder = str(tiny_model(tmp_path / "model", kind, **changes))
    Embedder.load(folder, device="cpu")
    with pytest.raises(PromptpoolError, match=f"{kind} {reason}, so its causal mask cannot be removed"):
        Embedder.load(folder, device="cpu", causal=False)


def test_a_mask_that_does_not_go_is_noticed(llama, monkeypatch):
    model = AutoModel.from_pretrained(llama, dtype=torch.float32)
    monkeypatch.setattr(type(model), "forward", stubborn(type(model).forward))
    with pytest.raises(PromptpoolError, match="llama keeps a mask of its own"):
        remove_causal_mask(model)


def stubborn(forward):
    def always_causal(self, *args, **kwargs):
        before, self.config.is_causal = self.config.is_causal, True
        try:
            return forward(self, *args, **{**kwargs, "is_causal": True})
        finally:
            self.config.is_causal = before

    return always_causal


def test_what_the_config_says_is_enough():
    assert one_way_reason({"model_type": "qwen2", "sliding_window": 32768, "use_sliding_window": False}) is None
    assert one_way_reason({"model_type": "mistral", "sliding_window": None}) is None
    assert one_way_reason({"layer_types": ["full_attention"] * 2, "sliding_window": 8}) is None
    assert "linear_attention" in one_way_reason({"text_config": {"layer_types": ["linear_attention"]}})
    assert "ALiBi" in one_way_reason({"model_type": "falcon", "alibi": True})
    assert "ALiBi" in one_way_reason({"attn_config": {"alibi": True}})


def in_study(path: str, **changes: object) -> Study:
    given = demo(**{"models__nano-docs__path": path, "models__nano-docs__causal": False}, **changes)
    for spec in given["pairs"].values():
        if spec.get("model"):
            spec |= {"model": "writer"}
    given["models"]["writer"] = {"path": path}
    return Study(resolve(given, files=False))


def test_a_study_is_refused_before_its_first_job(llama, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    require_models(in_study(llama))
    assert in_study(llama).model("nano-docs") == {"model": llama, "revision": None, "causal": False}
    assert in_study(llama).model("writer") == {"model": llama, "revision": None}
    for kind in REFUSED:
        path = str(tiny_model(tmp_path / kind, kind, **REFUSED[kind][0]))
        with pytest.raises(PromptpoolError, match=f"models.nano-docs.causal: {kind} .*; write causal: true"):
            require_models(in_study(path))


def test_a_model_without_its_mask_does_not_write_pairs(llama, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(PromptpoolError, match="has causal: false and cannot write; name a model with its causal mask"):
        resolve(demo(**{"models__nano-docs__causal": False}), files=False)


def test_training_sees_the_whole_text(llama):
    spec = {**SPEC, "lora": {**SPEC["lora"], "dropout": 0.0}, "pooling": "mean"}
    tuned = tunable_model(
        llama, Template.parse("p", "{text} about bread"), spec, 16, revision=None, device=torch.device("cpu"),
        dtype=torch.float32, causal=False,
    )  # fmt: skip
    rows = tuned.encode(list(TEXTS), batch_size=4)  # padded, and the fresh adapter adds nothing
    wanted = Embedder.load(llama, device="cpu", max_text_tokens=16, causal=False).encode(TEXTS, "{text} about bread")
    assert np.abs(rows - wanted).max() <= 2e-4 * np.abs(wanted).max()


def test_training_without_the_mask_gives_another_adapter(llama, tmp_path):
    pairs = write_pairs(tmp_path / "pairs.parquet")
    for name, causal in (("one", True), ("other", False)):
        train_rank(**call(llama, pairs, tmp_path / name, pooling="mean"), causal=causal)
    assert not same(*(weights(tmp_path / name, 3) for name in ("one", "other")))
    told = json.loads((tmp_path / "other.meta.json").read_text())
    assert told["base_causal"] is False


@pytest.mark.parametrize("pooling", ["last", "eos", "mean"])
def test_an_export_sees_the_whole_text_under_plain_sentence_transformers(llama, tmp_path, pooling):
    adapter = tiny_adapter(tmp_path / "adapter", llama)
    out = export(tmp_path / "out", llama, adapter, tables(tmp_path / "tables"), causal=False, pooling=pooling)
    found = parity(out, llama, adapter, causal=False, pooling=pooling)
    assert found["lowest_cosine"] >= 0.9999
    with pytest.raises(PromptpoolError, match=r"cosine .* but at least"):
        parity(out, llama, adapter, pooling=pooling)  # with its causal mask it is another model
    assert json.loads((out / "promptpool.json").read_text())["causal"] is False
    card = (out / "README.md").read_text()
    assert "each token sees the whole text" in card and "is_causal: false" in card
    loaded = SentenceTransformer(str(out), device="cpu")
    alone, together = loaded.encode(LINES[:1]), loaded.encode(LINES[:8])[:1]  # padding is not seen
    assert np.abs(alone - together).max() < 1e-5


def test_an_adapter_beside_its_base_cannot_carry_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = demo()
    given["models"]["open"] = {**given["models"]["nano-docs"], "causal": False}
    for section in ("adapters", "exports"):
        for spec in given[section].values():
            spec["model"] = "open"
    given["grid"]["models"] = ["open"]
    for spec in given["ablations"].values():
        if "model" in spec["fixed"]:
            spec["fixed"]["model"] = "open"
    resolve(json.loads(json.dumps(given)), files=False)
    next(iter(given["exports"].values()))["merged"] = False
    with pytest.raises(
        PromptpoolError, match=r"merged: false, but the base's config keeps its causal mask; write true"
    ):
        resolve(given, files=False)


def test_a_text_costs_more_attention_without_the_mask():
    shape, tokens = Shape([100, 100], 8), np.array([10, 20])
    more = shape.flops(tokens, 2, causal=False) - shape.flops(tokens, 2)
    assert more.tolist() == [4 * 8 * 2 * (n * n - n * (n + 1) / 2) for n in tokens.tolist()]
