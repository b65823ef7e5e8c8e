"""What a study does with a model, on a tiny one: load, embed, tune by a step, export, and compare the vectors."""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from promptpool.embedding.embedder import Embedder
from promptpool.errors import PromptpoolError
from promptpool.models.decoder import load_decoder, supported_attention
from promptpool.scoring.measure_costs import Shape
from promptpool.templates import Template
from promptpool.training.lora import bytes_a_token, learning, save_adapter, tunable_model
from tiny import TEXTS
from tiny_export import export, parity, tables
from transformers import AutoConfig

PROMPTS = {"none": "{text}", "sum": "the text {text} is about the following cluster of texts in one word"}
POOLINGS = ("mean", "last")
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0, "target_modules": "auto"}
SPEC = {"pooling": "mean", "quantize": None, "lora": LORA}
FAR = 2e-4  # of the largest number of a vector


def embed(folder: str, layers: tuple = (-1, 1)) -> Embedder:
    """The engine, after its grid was compared with plain passes of the model, a text at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a pass a prompt, which is said
        engine = Embedder.load(folder, device="cpu", max_text_tokens=16)
        found = engine.grid(TEXTS[:4], PROMPTS, POOLINGS, layers)
    config = AutoConfig.from_pretrained(folder)
    plain = load_decoder(folder, config, attention=supported_attention(config, "eager"), dtype=torch.float32).eval()
    for (prompt, pooling, layer), rows in found.items():
        assert np.isfinite(rows).all()
        for text, row in zip(TEXTS[:4] if layer == -1 else (), rows, strict=layer == -1):
            ids = torch.tensor([engine.composer.compose(Template.parse(prompt, PROMPTS[prompt]), text).ids])
            with torch.no_grad():
                states = plain(input_ids=ids, use_cache=False).last_hidden_state[0]
            wanted = (states.mean(0) if pooling == "mean" else states[-1]).numpy()
            far = np.abs(row - wanted).max() / np.abs(wanted).max()
            assert far <= FAR, f"{prompt}/{pooling}: off by {far:.1e} from a plain pass"
    return engine


def tune(folder: str, out: Path, targets: object = "auto") -> list[str]:
    """A step of training, saved to `out`; the names of the layers that it tuned."""
    spec = {**SPEC, "lora": {**LORA, "target_modules": targets}}
    tuned = tunable_model(
        folder, Template.parse("none", "{text}"), spec, 16, revision=None, device=torch.device("cpu"),
        dtype=torch.float32,
    )  # fmt: skip
    bytes_a_token(tuned, torch.device("cpu"))
    weights = learning(tuned)
    tuned.train()(tuned.preprocess(list(TEXTS[:4])))["sentence_embedding"].square().sum().backward()
    touched = [weight for name, weight in weights.items() if "lora_B" in name and weight.grad is not None]
    assert touched and any(weight.grad.abs().max() > 0 for weight in touched), "no LoRA weight learns"
    with torch.no_grad():
        for name, weight in weights.items():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn_like(weight))
    save_adapter(tuned, out)
    return sorted({name.split(".lora_")[0].removeprefix("0.model.").removesuffix(".base_layer") for name in weights})


def packed(folder: str, adapter: Path, scratch: Path) -> dict:
    """An export of the tuned model, and the parity of its vectors with the pipeline's."""
    out = export(scratch / "exported", Path(folder), adapter, tables(scratch / "tables"))
    return parity(out, Path(folder), adapter)


def costs(folder: str) -> Shape:
    return Shape.of(folder)


def both_ways(folder: str) -> bool:
    """Whether the causal mask can be removed: as the engine measures it, and by comparison with an explicit mask that
    hides nothing, where the model takes one. A window of the default config says nothing of the architecture.
    """
    path = Path(folder, "config.json")
    before = path.read_text(encoding="utf-8")
    content = json.loads(before)
    part = content.get("text_config") or content
    if "layer_types" not in part and part.get("sliding_window"):
        part["sliding_window"] = None
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            AutoConfig.from_pretrained(folder)
        except Exception:  # each architecture has its own error where a window is required; then it keeps its own
            path.write_text(before, encoding="utf-8")
    try:
        engine = Embedder.load(folder, device="cpu", max_text_tokens=16, causal=False)
    except PromptpoolError as refusal:
        assert "causal mask cannot be removed" in str(refusal)
        return False
    found = engine.grid(TEXTS[:4], PROMPTS, POOLINGS)
    config = AutoConfig.from_pretrained(folder)
    plain = load_decoder(folder, config, attention=supported_attention(config, "eager"), dtype=torch.float32).eval()
    for (prompt, pooling, _), rows in found.items():
        for text, row in zip(TEXTS[:4], rows, strict=True):
            ids = torch.tensor([engine.composer.compose(Template.parse(prompt, PROMPTS[prompt]), text).ids])
            open_mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1])  # added to the scores: nothing is hidden
            try:
                with torch.no_grad():
                    states = plain(input_ids=ids, attention_mask=open_mask, use_cache=False).last_hidden_state[0]
            except (ValueError, RuntimeError, IndexError):
                return True  # it takes no mask of four axes
            wanted = (states.mean(0) if pooling == "mean" else states[-1]).numpy()
            if np.abs(row - wanted).max() > FAR * np.abs(wanted).max():
                return False
    return True
