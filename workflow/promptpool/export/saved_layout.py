"""The layout of an exported model on disk: files that sentence-transformers 5 and 6, and vLLM, all read.

sentence-transformers 6 saves its own class paths and config keys, which 5 cannot read, and vLLM recognises a pooling
only by its old name. The old layout means the same, and 6 still reads it. It can't express one thing: `concat` here is
the last token's state before the mean, and the old switches have a fixed order, mean first. So only `concat` uses the
new keys.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..artifacts.files import package_versions

SavedModule = tuple[str, dict | None, Mapping[str, torch.Tensor]]  # its kind, config and weights
SWITCHES = {
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
    "eos": "pooling_mode_lasttoken",
    "weighted": "pooling_mode_weightedmean_tokens",
    "max": "pooling_mode_max_tokens",
}
ALL_SWITCHES = (
    "pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken",
)  # fmt: skip


def plain_modules(width: int, pooling: str, layer: int | None) -> list[SavedModule]:
    """The modules after the Transformer for one pooling.

    width: of a hidden state; layer: the inner hidden state that is pooled, counted in the saved layers (see
    `first_layers.keep_layers`); None pools the last.
    """
    inner = [] if layer is None else [layer_module(width, layer, layer + 1)]
    return [*inner, ("Pooling", pooling_config(width, pooling), {})]


def layer_module(width: int, layer: int, saved: int) -> SavedModule:
    """Chooses one hidden state of a model of `saved` layers.

    The average runs from that layer to the last, which is normalised: the first has all the weight, the others none.
    """
    config = {"word_embedding_dimension": width, "layer_start": layer, "num_hidden_layers": saved}
    weights = torch.zeros(saved + 1 - layer)
    weights[0] = 1.0
    return "WeightedLayerPooling", config, {"layer_weights": weights}


def save_modules(
    folder: Path,
    parts: Sequence[SavedModule],
    *,
    max_tokens: int,
    normalize: bool,
    truncate_dim: int | None = None,
    before: Sequence[str] = (),
) -> None:
    """Writes modules.json and each module's config and weights. The Transformer's lie in `folder` itself.

    parts: the modules after it; before: the kinds of those in front of it, whose folders are written already;
    max_tokens: of a whole input, including the prompt; truncate_dim: how many dimensions `encode` keeps, None for all.
    """
    last = [("Normalize", None, {})] if normalize else []
    modules = []
    bare = [(kind, None, {}) for kind in (*before, "Transformer")]
    for number, (kind, config, weights) in enumerate([*bare, *parts, *last]):
        path = "" if kind == "Transformer" else f"{number}_{kind}"
        modules.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
        if config:  # Normalize has none, and git keeps no empty folder
            (folder / path).mkdir(parents=True)
            write_json_file(folder / path / "config.json", config)
        if weights:
            save_file(dict(weights), folder / path / "model.safetensors")
    write_json_file(folder / "modules.json", modules)
    write_json_file(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    versions = package_versions(["sentence-transformers", "transformers", "torch"])
    names = {"sentence-transformers": "sentence_transformers", "torch": "pytorch"}
    write_json_file(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {names.get(name, name): version for name, version in versions.items()},
            "prompts": {},  # the prompt is in the tokenizer
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
            **({"truncate_dim": truncate_dim} if truncate_dim else {}),
        },
    )


def pooling_config(width: int, pooling: str) -> dict:
    """The config of a Pooling module."""
    if pooling == "concat":
        return {"embedding_dimension": width, "pooling_mode": ["lasttoken", "mean"], "include_prompt": True}
    chosen = {name: name == SWITCHES[pooling] for name in ALL_SWITCHES}
    return {"word_embedding_dimension": width, **chosen, "include_prompt": True}


def save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
    """Saves the tokenizer under a plain class: an architecture's own may drop the post-processor with the prompt."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for name in ("chat_template", "extra_special_tokens", "backend", "is_local", "local_files_only"):
        content.pop(name, None)  # other versions read these differently, and the ids need none of them
    content |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        # A pooling may count positions from the left edge, so padding must be on the right.
        "padding_side": "right",
        # Otherwise transformers 4 adds token types, and GPT-2 adds an embedding for them.
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_json_file(path, content)
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def save_model(folder: Path, model: PreTrainedModel, dtype: str) -> None:
    """Saves the weights in `dtype`, and a config that transformers 4 reads too (it has no `rope_parameters`)."""
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    rope = content.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        content["rope_theta"] = rope["rope_theta"]
        content["rope_scaling"] = scaling if scaling.get("rope_type", "default") != "default" else None
        write_json_file(path, content)


def round_weights(model: PreTrainedModel, dtype: str) -> None:
    """Rounds the weights, in place, to values that `dtype` can hold. They keep their own type."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(getattr(torch, dtype)))


def write_json_file(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
