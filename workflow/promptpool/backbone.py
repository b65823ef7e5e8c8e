"""Loading a decoder without its LM head, with or without an adapter."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .artifacts import sidecar_path, text_digest
from .errors import PromptpoolError
from .trust import NO_CODE, SAFE


@dataclass
class Backbone:
    """A decoder that returns hidden states, its tokenizer, and where it lives."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


def load_backbone(
    path: str,
    revision: str | None = None,
    adapter: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "sdpa",
) -> Backbone:
    """A base model in evaluation mode, an adapter merged into it where one is named.

    path: directory or hub id; adapter: directory of LoRA weights; dtype `auto` is bfloat16 on a GPU and
    float32 on a CPU. Raises PromptpoolError for a model that is no decoder, an adapter that misses a key
    and an adapter that changes nothing.
    """
    place = pick_device(device)
    config = AutoConfig.from_pretrained(path, revision=revision, **NO_CODE)
    if config.is_encoder_decoder or "bert" in config.model_type:
        raise PromptpoolError(f"{path}: {config.model_type} is not a decoder-only model; name a causal LM")
    model = AutoModel.from_pretrained(
        path, revision=revision, dtype=pick_dtype(dtype, place), attn_implementation=attention, **SAFE
    )
    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, **NO_CODE)
    require_tokenizer(tokenizer, model, path, adapter)
    if adapter is not None:
        model = merged(model, adapter)
    return Backbone(model.to(place).eval(), tokenizer, place)


def require_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, path: str, adapter: str | Path | None = None
) -> None:
    """Raises PromptpoolError for a tokenizer with ids that the model lacks, or not the one an adapter learned with."""
    most, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().weight.shape[0]
    if most >= rows:
        raise PromptpoolError(
            f"{path}: the tokenizer has ids up to {most} and the model {rows} embeddings; put the model's own there"
        )
    told = sidecar_path(Path(adapter).parent) if adapter is not None else None
    if told and told.is_file():
        learned = json.loads(told.read_text(encoding="utf-8")).get("vocabulary")
        if learned not in (None, vocabulary_digest(tokenizer)):
            raise PromptpoolError(
                f"{adapter}: learned with another tokenizer than the one in {path} now; put that back, or train again"
            )


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Which token has which id, as a digest."""
    return text_digest(json.dumps(sorted(tokenizer.get_vocab().items())))


def pick_device(device: str) -> torch.device:
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise PromptpoolError(
            "device: cuda, and this job sees no GPU; set `device: auto`, or send it where there is one"
        )
    if device == "auto":
        device = "cuda" if there else "cpu"
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return getattr(torch, dtype)


def autocasts(device: torch.device) -> bool:
    """Whether float32 weights are best multiplied in bfloat16 here: on a CPU with AMX tiles.

    AVX-512's bfloat16 alone is slower than its float32 (docs/performance.md).
    """
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def merged(model: PreTrainedModel, adapter: str | Path) -> PreTrainedModel:
    """The model with the adapter's product added to its weights; the adapter must be whole and not zero.

    adapter: a directory that PEFT wrote. Raises PromptpoolError for a file that is missing or broken, a key without
    its place in this model, a shape that does not fit and an adapter that is all zero; warns where the adapter says
    that it was trained on another base.
    """
    from peft import PeftModel, get_peft_model_state_dict

    saved = adapter_weights(adapter)
    warn_of_another_base(adapter, model.name_or_path)
    try:
        tuned = PeftModel.from_pretrained(model, str(adapter))
    except RuntimeError as error:
        wrong = next((line.strip() for line in str(error).splitlines() if "size mismatch" in line), str(error))
        raise PromptpoolError(
            f"{adapter}: the adapter is not of this base model, {model.name_or_path}: {wrong}; name the base it tunes"
        ) from None
    loaded = get_peft_model_state_dict(tuned)
    lost = sorted(set(saved) ^ set(loaded))
    if lost:
        raise PromptpoolError(
            f"{adapter}: adapter key {lost[0]!r} has no place in this model; train the adapter on this base model"
        )
    if any(not torch.equal(saved[name].float(), loaded[name].float().cpu()) for name in saved):
        raise PromptpoolError(f"{adapter}: the adapter was not loaded as saved; load the base model in float32")
    return tuned.merge_and_unload()


def adapter_weights(adapter: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's directory by key. PromptpoolError unless all are finite and some product is not 0."""
    path = Path(adapter) / "adapter_model.safetensors"
    if not path.is_file() or not path.with_name("adapter_config.json").is_file():
        missing = path if not path.is_file() else path.with_name("adapter_config.json")
        raise PromptpoolError(f"{missing}: no such file; an adapter is what PEFT's save_pretrained writes")
    try:
        saved = load_file(path)
    except SafetensorError as error:
        raise PromptpoolError(f"{path}: broken adapter file ({error}); train it again") from None
    for name, weight in saved.items():
        if not torch.isfinite(weight).all():
            raise PromptpoolError(f"{path}: {name!r} is not finite; train with a lower learning_rate")
    if not any(weight.abs().max() > 0 for name, weight in saved.items() if "lora_B" in name):
        raise PromptpoolError(
            f"{adapter}: the adapter is all zero and changes nothing; train more steps or warm up less"
        )
    return saved


def warn_of_another_base(adapter: str | Path, base: str) -> None:
    """Warns where an adapter names another base. A warning only: the same weights may have moved, or have a mirror."""
    text = Path(adapter, "adapter_config.json").read_text(encoding="utf-8")
    named = json.loads(text).get("base_model_name_or_path")
    if named and Path(named).name != Path(base).name:
        warnings.warn(f"{adapter}: trained on base {named!r}, and put on {base!r}", stacklevel=3)
