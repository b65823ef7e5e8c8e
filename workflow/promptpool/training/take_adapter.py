"""The adapters stage for an adapter that others trained: LoRA weights as PEFT saves them, checked and put in place."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts.files import atomic_path, write_json, write_sidecar
from ..errors import PromptpoolError
from ..hub.snapshots import held

if TYPE_CHECKING:
    from torch import Tensor

CAUSAL, BARE = "base_model.model.model.", "base_model.model."  # the same layers in a causal LM, and without its head


def take_adapter(given: str, out: str, *, spec: Mapping, template: str, model: str, revision: str | None) -> None:
    """Writes out/step-{n}/ with LoRA weights and their config, and a sidecar as training does.

    given: a directory that PEFT wrote; spec: its `recipe`, whose only step names it; template: the prompt that it is
    scored under. Keys of a causal LM are renamed: loaded as they are, they would silently be no adapter. Raises
    PromptpoolError for another kind of adapter, further trained weights, and weights that do not fit the model.
    """
    from ..models.backbone import adapter_weights

    started = time.time()
    weights = {name.replace(CAUSAL, BARE, 1): weight for name, weight in adapter_weights(given).items()}
    config = json.loads(Path(given, "adapter_config.json").read_text(encoding="utf-8"))
    require_lora(config, given)
    inputs = [str(Path(given) / name) for name in ("adapter_model.safetensors", "adapter_config.json")]
    put_in_place(
        out, weights, config, spec=spec, template=template, model=model, revision=revision, inputs=inputs,
        started=started,
    )  # fmt: skip


def put_in_place(
    out: str,
    weights: Mapping[str, "Tensor"],
    config: Mapping,
    *,
    spec: Mapping,
    template: str,
    model: str,
    revision: str | None,
    inputs: Sequence[str],
    started: float,
) -> None:
    """Writes an adapter that was not trained here as if it had been. PromptpoolError if it does not fit the model."""
    import torch
    from safetensors.torch import save_file

    from ..models.backbone import load_backbone, vocabulary_digest

    (step,) = spec["steps"]
    with atomic_path(out) as temporary:
        place = temporary / f"step-{step}"
        place.mkdir(parents=True)
        whole = {name: weight.to(torch.float32).contiguous() for name, weight in weights.items()}
        save_file(whole, place / "adapter_model.safetensors")
        write_json(place / "adapter_config.json", {**config, "task_type": "FEATURE_EXTRACTION", "inference_mode": True})
        backbone = load_backbone(model, revision, place, device="cpu", dtype="float32")  # every key has its place
    write_sidecar(
        out,
        inputs=inputs,
        spec={**spec, "template": template},
        started=started,
        base_model=model,
        base_revision=revision,
        vocabulary=vocabulary_digest(backbone.tokenizer),
    )


def given_folder(path: str, markers: Sequence[str] | str) -> str:
    """Where an adapter's files are: its directory, or the hub's cache, whose marker is the rule's input."""
    if Path(path).is_dir():
        return path
    return held(markers if isinstance(markers, str) else markers[0])["folder"]


def require_lora(config: Mapping, given: str) -> None:
    """Raises PromptpoolError for an adapter that is more, or something else, than LoRA."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise PromptpoolError(f"{given}: is of the kind {kind}, and only LORA is taken; name another adapter")
    more = config.get("modules_to_save")
    if more:
        raise PromptpoolError(
            f"{given}: also trained {', '.join(more)}, and only LoRA weights are taken; name another adapter"
        )
