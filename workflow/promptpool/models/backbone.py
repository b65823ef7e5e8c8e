"""Loads a decoder without its LM head, with or without an adapter."""

import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..artifacts.files import sidecar_path, text_digest
from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from ..runtime.gpu_leases import LENT
from .both_ways import remove_causal_mask
from .decoder import load_decoder, supported_attention
from .precision import EXACT, Kept, Precision, inference_precision, require_kept


@dataclass
class Backbone:
    """A decoder that returns hidden states, its tokenizer, its device, and how its products are computed.

    kept: the share of the adapter's change that the weights' type keeps, 1 in float32; None without an adapter.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    precision: Precision = EXACT
    kept: float | None = None


def load_backbone(
    path: str,
    revision: str | None = None,
    adapter: str | Path | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | Precision = "auto",
    attention: str = "sdpa",
    causal: bool = True,
) -> Backbone:
    """A base model in evaluation mode, with an adapter merged into it if one is named.

    path: directory or hub id; adapter: directory of LoRA weights; dtype: see precision.inference_precision. The merge
    itself is always done in float32. causal: false removes the causal mask (both_ways). Raises PromptpoolError for a
    model that is not a decoder or has a mask that cannot be removed, an adapter with a missing key, an adapter that
    changes nothing and a dtype that loses the adapter's change.
    """
    place = pick_device(device)
    precision = inference_precision(dtype, place)
    config = AutoConfig.from_pretrained(path, revision=revision, **NO_CODE)
    model = load_decoder(
        path, config, revision=revision, dtype=precision.weights, attention=supported_attention(config, attention)
    )
    if not causal:
        remove_causal_mask(model)
    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, **NO_CODE)
    require_tokenizer(tokenizer, model, path, adapter)
    kept = None
    if adapter is not None:
        model, kept = merged(model.float(), adapter, precision.weights, beside=precision.tf32)
        model = model.to(precision.weights)
    return Backbone(model.to(place).eval(), tokenizer, place, precision, kept)


def require_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, path: str, adapter: str | Path | None = None
) -> None:
    """Raises PromptpoolError for a tokenizer with ids that the model lacks, or another than an adapter's own."""
    most, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().weight.shape[0]
    if most >= rows:
        raise PromptpoolError(
            f"{path}: the tokenizer has ids up to {most} and the model {rows} embeddings; put the model's own there"
        )
    sidecar = sidecar_path(Path(adapter).parent) if adapter is not None else None
    if sidecar and sidecar.is_file():
        learned = json.loads(sidecar.read_text(encoding="utf-8")).get("vocabulary")
        if learned not in (None, vocabulary_digest(tokenizer)):
            raise PromptpoolError(
                f"{adapter}: learned with another tokenizer than the one in {path} now; put that back, or train again"
            )


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """A digest of which token has which id."""
    return text_digest(json.dumps(sorted(tokenizer.get_vocab().items())))


def pick_device(device: str | torch.device) -> torch.device:
    """The device by name (`auto`, `cpu`, `cuda`, `cuda:1`), or unchanged. Raises PromptpoolError for a missing GPU.

    A job that was lent GPUs but does not see them all ends here. It runs on the CPU only if `cpu` is asked for.
    """
    named = device if isinstance(device, str) else ""
    lent = os.environ.get(LENT, "")
    if named == "auto" and (lent or torch.cuda.is_available()):
        named = device = "cuda"
    place = torch.device("cpu" if named == "auto" else device)
    if named and place.type == "cuda":
        seen = max(1, torch.cuda.device_count()) if torch.cuda.is_available() else 0
        if lent and seen < len(lent.split(",")):
            raise PromptpoolError(
                f"this job was lent GPU {lent}, and CUDA {f'sees only {seen}' if seen else 'does not see it'}: "
                f"{cuda_fault()}; repair that, or write `device: cpu`"
            )
        if seen <= (place.index or 0):
            raise PromptpoolError(
                f"device: {named}, and this job sees {seen or 'no'} GPU{'s' * (seen > 1)} ({cuda_fault()}); set "
                "`device: auto`, or send it where there is one"
            )
    if place.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans again for every shape of a tile, 0.05 to 1 s each
    return place


def cuda_fault() -> str:
    """Why CUDA does not start here, as one line: torch's own message if it has one."""
    if torch.version.cuda is None:
        return "this torch is a CPU build, install the one for CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # no driver, or one that is too old for this build
        return " ".join(str(error).split())[:200]
    return f"torch.cuda.device_count() is {torch.cuda.device_count()}"


def merged(
    model: PreTrainedModel, adapter: str | Path, dtype: torch.dtype = torch.float32, *, beside: bool = False
) -> tuple[PreTrainedModel, float]:
    """The model with the adapter's product added to its weights, and the share of that product which `dtype` keeps.

    model: float32. adapter: a directory that PEFT wrote, complete and not zero. dtype: what the caller rounds the
    weights to afterwards. beside: whether the product stays beside the weights, because TF32's 10 bits would round it
    away in a sum. Raises PromptpoolError for a missing or damaged file, a key without its place in this model, a shape
    that does not fit and an adapter that is all zero; warns if the adapter records that it was trained on another base.
    """
    from peft import PeftModel, get_peft_model_state_dict

    saved = adapter_weights(adapter)
    warn_of_another_base(adapter, model.name_or_path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # put in by name below, and checked
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
    places = dict(tuned.named_parameters())
    for name, weight in saved.items():  # PEFT renames some keys as an older transformers' checkpoint wants it
        place = places.get(re.sub(r"(lora_[AB])\.weight$", r"\1.default.weight", name))
        if place is not None and place.shape == weight.shape:
            place.data.copy_(weight)
    if any(not torch.equal(saved[name].float(), loaded[name].float().cpu()) for name in saved):
        raise PromptpoolError(f"{adapter}: the adapter was not loaded as saved; load the base model in float32")
    kept = share_kept(tuned, dtype)
    require_kept(kept, adapter, dtype)
    return (tuned.base_model.model if beside else tuned.merge_and_unload()), kept


@torch.no_grad()
def share_kept(tuned: torch.nn.Module, dtype: torch.dtype) -> float:
    """The share of an adapter's product that survives rounding the merged weights to `dtype`: see precision.Kept."""
    from peft.tuners.lora import LoraLayer

    if dtype == torch.float32:
        return 1.0
    kept = Kept()
    for module in tuned.modules():
        if isinstance(module, LoraLayer):
            base = module.get_base_layer().weight.float()
            kept.add(base, base + sum(module.get_delta_weight(name).float() for name in module.active_adapters), dtype)
    return kept.share


def adapter_weights(adapter: str | Path) -> dict[str, torch.Tensor]:
    """An adapter's tensors by key. Raises PromptpoolError unless all are finite and some product is not 0."""
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
    """Warns if an adapter names another base. Only a warning: the same weights may have moved or have a mirror."""
    text = Path(adapter, "adapter_config.json").read_text(encoding="utf-8")
    named = json.loads(text).get("base_model_name_or_path")
    if named and Path(named).name != Path(base).name:
        warnings.warn(f"{adapter}: trained on base {named!r}, and put on {base!r}", stacklevel=3)
