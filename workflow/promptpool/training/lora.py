"""A base model prepared for tuning: frozen and half-precise on a GPU, its LoRA weights in float32, no LM head."""

import contextlib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import AutoConfig

from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from ..models.decoder import decoder_layers, supported_attention
from ..models.memory import gpu_room, is_device_fault, is_out_of_memory
from ..models.sentence_model import sentence_model
from ..templates import Template
from ..variants import LAST_LAYER
from .inner_layer import end_at
from .lora_targets import inner_targets, targets_of
from .packed import pack

PROBE_SHAPE = (4, 64)  # texts x tokens of the pass that measures what a backward needs
MEMORY_SHARE = {"cpu": 0.4, "cuda": 0.6}  # of the memory, for activations that wait for the backward
MEMINFO = Path("/proc/meminfo")
CONTROL_GROUPS = [  # the limit, and what is used of it
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
]
CHUNK_TOKENS = {"cpu": 512, "cuda": 16384}  # of one forward: enough to keep the device busy, few enough to pad little


class Upcast(nn.Module):
    """Token vectors in float32 from here on, so that pooling sums are exact."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["token_embeddings"] = features["token_embeddings"].float()
        return features


def tunable_model(
    path: str,
    template: Template | Mapping[str, Template],
    spec: Mapping,
    max_text_tokens: int,
    *,
    revision: str | None,
    device: torch.device,
    dtype: torch.dtype,
    attention: str = "sdpa",
    checkpointing: bool = False,
    causal: bool = True,
) -> SentenceTransformer:
    """The base model with a fresh LoRA adapter, whose weights are the only trainable ones. It ends at the layer that is
    trained, with no LoRA weights above that.

    Raises PromptpoolError for a `quantize` or an `attention` that this machine can't run, and for a layer and target
    modules that the model lacks.
    """
    config = AutoConfig.from_pretrained(path, revision=revision, **NO_CODE)
    loading: dict[str, object] = {"attn_implementation": supported_attention(config, attention)}
    if attention == "flash_attention_2":
        need("flash_attn", "attention: flash_attention_2", device, "write sdpa")
    if spec["quantize"] == "4bit":
        need("bitsandbytes", "quantize: 4bit", device, "write null")
        loading["quantization_config"] = four_bit()
    tuned = sentence_model(
        path, template, spec["pooling"], max_text_tokens, revision=revision, dtype=dtype, device=str(device),
        loading=loading, causal=causal,
    )  # fmt: skip
    if dtype != torch.float32:
        tuned.insert(1, Upcast())
    network, lora = tuned.transformers_model, spec["lora"]
    inner = end_at(tuned, spec.get("layer", LAST_LAYER), path)
    chosen = (inner_targets if inner else targets_of)(network, lora["target_modules"], path)
    config = LoraConfig(
        task_type="FEATURE_EXTRACTION",
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=chosen,
    )
    for parameter in tuned.parameters():
        parameter.requires_grad_(False)
    try:
        tuned.add_adapter(config)
    except ValueError as error:  # of a layer that PEFT does not adapt, such as a Mamba's projection
        reason = " ".join(str(error).split())[:200]
        raise PromptpoolError(f"{path}: lora.target_modules: {reason}; name other layers") from None
    if inner:  # PEFT shortens long lists to what is enough in this model, which lacks the other layers
        network.peft_config["default"].target_modules = set(chosen)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for module in tuned.modules():
        if isinstance(module, LoraLayer) and dtype != torch.float32:
            module.cast_input_dtype_enabled = False  # autocast does, and without a float32 copy of every input
    if checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    pack(tuned)
    return tuned


def need(package: str, key: str, device: torch.device, fix: str) -> None:
    """Raises PromptpoolError if a setting needs a GPU or a package that is missing."""
    if device.type != "cuda":
        raise PromptpoolError(f"{key} needs a GPU, and this runs on {device.type}; {fix}")
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise PromptpoolError(f"{key} needs the package {name}, which is not installed; pip install {name}, or {fix}")


def four_bit() -> object:
    """QLoRA's base (Dettmers et al., 2023, arXiv 2305.14314): NF4 with doubly quantized scales, bfloat16 products."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def learning(model: nn.Module) -> dict[str, Tensor]:
    """The trainable weights, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(model: SentenceTransformer, folder: Path) -> None:
    """The LoRA weights and their config, the same bytes from the same weights."""
    model.transformers_model.save_pretrained(folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])  # peft holds a set, in an order of its process
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def first_forward(model: SentenceTransformer, features: dict) -> Tensor:
    """The vectors of a first batch. PromptpoolError where the model's own code does not run on a batch in training."""
    try:
        return model(features)["sentence_embedding"]
    except Exception as error:
        if is_out_of_memory(error) or is_device_fault(error) or isinstance(error, PromptpoolError):
            raise
        network, reason = model.transformers_model, " ".join(str(error).split())[:200]
        raise PromptpoolError(
            f"{network.name_or_path}: {type(network).__name__} cannot be tuned, its code fails on a batch in training "
            f"({type(error).__name__}: {reason}); name another model"
        ) from error


def live_tokens(model: SentenceTransformer, device: torch.device, checkpointing: bool = False) -> int:
    """Tokens whose activations may wait for the backward in MEMORY_SHARE of the device's memory."""
    return int(MEMORY_SHARE[device.type] * memory(device) / bytes_a_token(model, device, checkpointing))


def memory(device: torch.device) -> int:
    """The bytes that are free for this job: of a GPU, or of the machine or control group, its threads' share of those.

    Jobs that run beside it hold what is not free. All free memory is never one job's: a machine's other cores run jobs
    that have not yet taken theirs.
    """
    if device.type == "cuda":
        return max(0, gpu_room(device) - torch.cuda.memory_allocated(device))
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    with contextlib.suppress(OSError, StopIteration):
        lines = MEMINFO.read_text(encoding="utf-8").splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    for limit, used in CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError):  # no such control group, or no limit ("max")
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return int(max(0, free) * min(1.0, torch.get_num_threads() / (os.cpu_count() or 1)))


def bytes_a_token(model: SentenceTransformer, device: torch.device, checkpointing: bool = False) -> float:
    """What one token of a forward keeps for the backward, measured on a small one, without the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros(PROBE_SHAPE, dtype=torch.long, device=device)
    features = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "modality": "text"}
    half = next(model.parameters()).dtype == torch.bfloat16
    devices = [device] if device.type == "cuda" else []
    training = model.training
    with (
        torch.random.fork_rng(devices),
        torch.autocast(device.type, torch.bfloat16, enabled=half),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        vectors = first_forward(model.train(), features)  # held: a freed storage's address comes again
    model.train(training)
    tokens = ids.numel()
    network = model.transformers_model
    # A checkpointed layer keeps only its input, which the hooks can't see.
    inputs = len(decoder_layers(network)) * network.config.hidden_size * vectors.element_size() if checkpointing else 0
    return sum(kept.values()) / tokens + inputs
