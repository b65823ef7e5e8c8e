"""What can be said of a study's models before its first job: those that lie on this machine, from their config.

Nothing heavy is imported for an architecture that is known to work, and for names that are found in the weights.
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from ..config.adapters import untrained
from ..config.references import trained_layer_faults
from ..errors import PromptpoolError
from ..hub.snapshots import snapshot_folder
from ..models.one_way import one_way_fault, one_way_reason
from ..variants import LAST_LAYER, Layer, trained_layers
from .study import Study

ARCHITECTURES_FILE = files(__package__) / "architectures.json"
LAST_ALONE = "`layers: [-1]` alone"  # the note of one whose other layers have several states for each token
BOTH_WAYS = "both ways"  # the note of an architecture whose causal mask can be removed
WORKS = ("one pass", "separate passes")


@functools.cache
def architectures() -> dict[str, dict]:
    """model_type -> what `make test-architectures` found: `result`, `by`, `reason`, `notes`."""
    found = json.loads(ARCHITECTURES_FILE.read_text(encoding="utf-8"))
    return {**found["seeing"], **found["text"]}


def require_models(study: Study) -> None:
    """Raises PromptpoolError, one line, for a model on this machine that the study could not run."""
    for fault in model_faults(study):
        raise PromptpoolError(fault)


def model_faults(study: Study) -> Iterator[str]:
    """One line for each thing that the study asks of a model and that the model does not have."""
    adapters = study["adapters"]
    used = {*study["grid"]["models"], *(spec["model"] for spec in (*adapters.values(), *study["exports"].values()))}
    for name in sorted(used):
        folder = folder_of(study, name)
        if folder is None:
            continue
        tuned = {key: spec for key, spec in adapters.items() if spec["model"] == name and not untrained(spec)}
        exports = {key: spec for key, spec in study["exports"].items() if spec["model"] == name}
        yield from _faults(f"models.{name}", folder, tuned, exports, study["grid"]["layers"])
        if not study["models"][name]["causal"]:
            yield from _one_way_faults(f"models.{name}.causal", folder)


def folder_of(study: Study, name: str) -> Path | None:
    """The directory of a model on this machine, a snapshot of the hub's cache too; None where it is not here yet."""
    place = Path(study.model(name)["model"])
    if not place.is_dir():
        markers = [Path(marker) for marker in study.snapshot("models", name)]
        if not markers or not all(marker.exists() for marker in markers):
            return None
        place = snapshot_folder(json.loads(markers[0].read_text(encoding="utf-8")))
    return place if (place / "config.json").is_file() else None


def _faults(
    key: str, folder: Path, tuned: Mapping[str, Mapping], exports: Mapping[str, Mapping], layers: Sequence
) -> Iterator[str]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # who loads it says so
    known = architectures().get(config.get("model_type"), {"result": "unknown"})
    whole = {"embed": True, "tune": bool(tuned), "export": bool(exports)}.get(known.get("by"), False)
    if known["result"] == "refused" and whole:
        yield f"{key}: {known['reason'].replace('MODEL', str(folder))}"
        return
    refusal = None if known["result"] in WORKS and not _odd(config) else _refusal(folder)
    if refusal:
        yield f"{key}: {refusal}"
        return
    notes = known.get("notes", [])
    last_alone = f"its architecture, {config['model_type']}, gives its last layer alone"
    if LAST_ALONE in notes and any(layer != -1 for layer in layers):
        yield f"{key}: {last_alone}; write grid.layers: [-1]"
    for name, spec in exports.items():
        if "no export" in notes:
            yield f"exports.{name}: transformers does not load the text decoder of {folder} by itself; take it out"
        elif "text_config" in config and spec["adapter"] != "base" and not spec["merged"]:
            yield f"exports.{name}.merged: false needs a model for text alone, and {folder} is more; write true"
    for name, spec in tuned.items():
        targets, layer = spec["lora"]["target_modules"], spec["layer"]
        faults = list(trained_layer_faults(f"adapters.{name}.layer", key.partition(".")[2], folder, layer))
        if LAST_ALONE in notes and layer != LAST_LAYER:
            faults.append(f"adapters.{name}.layer: {last_alone} ({key}); write -1")
        named = isinstance(targets, list) and not _in_weights(folder, config, targets)
        if not faults and (named or layer != LAST_LAYER):
            faults = [f"adapters.{name}: {one}" for one in filter(None, [_refusal(folder, targets, layer)])]
        yield from faults


def _one_way_faults(key: str, folder: Path) -> Iterator[str]:
    """Why a model's causal mask cannot be removed: by its config, or as tried on a tiny model of its architecture."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    known = architectures().get(kind)
    reason = one_way_reason(config)
    if reason is None and known and BOTH_WAYS not in known.get("notes", []):
        reason = "keeps a mask of its own, or has layers without attention"
    if reason:
        yield one_way_fault(key, str(kind), reason)


def _odd(config: Mapping) -> bool:
    """Whether a config of an architecture that works says that this one is an encoder after all."""
    part = config.get("text_config") or {}
    return any(
        one.get("is_encoder_decoder") or one.get("use_bidirectional_attention") or one.get("is_causal") is False
        for one in (config, part)
    )


def _in_weights(folder: Path, config: Mapping, targets: Sequence[str]) -> bool:
    """Whether each name is that of a matrix in the files of a model for text alone: their headers are read, no more."""
    if "text_config" in config or targets == ["all-linear"]:
        return "text_config" not in config
    from safetensors import SafetensorError, safe_open

    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="np") as weights:
                keys = weights.keys()
                names |= {name for name in keys if len(weights.get_slice(name).get_shape()) == 2}
        except (SafetensorError, OSError):
            return False  # then the config says it; the job that loads the file names it
    return all(any(name.endswith(f".{one}.weight") for name in names) for one in targets)


def _refusal(folder: Path, targets: Sequence[str] | str | None = None, layer: Layer = LAST_LAYER) -> str | None:
    """Why a model would be refused, from its config: the network is made without memory, and no weight is read.

    targets, layer: of an adapter.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    from ..hub.safe_loading import NO_CODE
    from ..models.decoder import decoder_layers, require_decoder, text_decoder
    from ..models.first_layers import keep_layers
    from ..training.lora_targets import inner_targets, targets_of

    try:
        config = AutoConfig.from_pretrained(str(folder), **NO_CODE)
        require_decoder(config, str(folder))
        with torch.device("meta"):
            decoder = text_decoder(AutoModel.from_config(config))
        depth = len(decoder_layers(decoder))
        decoder.name_or_path = str(folder)
        number = trained_layers(layer, depth)
        if number < depth:
            keep_layers(decoder, number)
        if targets is not None:
            (targets_of if number == depth else inner_targets)(decoder, targets, str(folder))
    except PromptpoolError as error:
        return str(error)
    except Exception:  # who loads it says so, with what is at fault
        return None
    return None
