"""The adapters stage for a mean of adapters: of several steps of one training, of several seeds, or of both.

The mean is of what each adapter adds to the base's weights, not of its factors. It is exact: the factors stand side by
side in an adapter whose rank is the sum of the members' ranks (model soups: Wortsman et al. 2022, arXiv 2203.05482).
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import PromptpoolError
from .take_adapter import put_in_place

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
ODD = ("use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")  # then scale or layout differ between layers


def average_adapters(
    members: Sequence[str], out: str, *, spec: Mapping, template: str, model: str, revision: str | None
) -> None:
    """Writes out/step-{n}/ with the mean of the members, and a sidecar as training does.

    members: directories of LoRA weights for `model`; spec: the mean's `recipe`, whose only step names it. A layer that
    a member does not adapt counts as unchanged by it. Raises PromptpoolError for a member that is not plain LoRA.
    """
    import torch

    from ..models.backbone import adapter_weights

    started = time.time()
    weights = [adapter_weights(member) for member in members]
    configs = [json.loads(Path(member, "adapter_config.json").read_text(encoding="utf-8")) for member in members]
    scales = [scale_of(config, member) for config, member in zip(configs, members, strict=True)]
    layers = sorted({name.removesuffix(DOWN) for own in weights for name in own if name.endswith(DOWN)})
    together = {}
    for layer in layers:
        having = [(own, scale) for own, scale in zip(weights, scales, strict=True) if layer + DOWN in own]
        down = torch.cat([own[layer + DOWN].float() for own, _ in having])
        up = torch.cat([own[layer + UP].float() * (scale / len(members)) for own, scale in having], dim=1)
        rank = sum(config["r"] for config in configs)  # the same for every layer, as PEFT wants it
        together[layer + DOWN] = torch.nn.functional.pad(down, (0, 0, 0, rank - len(down)))
        together[layer + UP] = torch.nn.functional.pad(up, (0, rank - up.shape[1]))
    rank = sum(config["r"] for config in configs)
    targets = sorted({target for config in configs for target in config["target_modules"]})
    config = {**configs[0], "r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": targets}
    put_in_place(
        out, together, config, spec=spec, template=template, model=model, revision=revision, inputs=members,
        started=started,
    )  # fmt: skip


def scale_of(config: Mapping, member: str) -> float:
    """What an adapter's product is multiplied by."""
    odd = [key for key in ODD if config.get(key)]
    if odd:
        raise PromptpoolError(f"{member}: is no plain LoRA ({odd[0]}), so it has no mean with others; leave it out")
    return config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
