"""What a plan assumes: planning.yaml, a model's size by its files or its name, and a text's tokens."""

import functools
import json
import re
from pathlib import Path

import yaml

from ..errors import PromptpoolError
from ..variants import trained_layers
from .plan_checks import PLANNING_FILE


@functools.cache
def assumptions() -> dict:
    return yaml.safe_load(PLANNING_FILE.read_text(encoding="utf-8"))


def model_size(path: str) -> dict:
    """`parameters`, `hidden` and `layers` of a model, and `guess`: whether they are guessed."""
    known = assumptions()["models"].get(path)
    if known:
        return {**known, "guess": False}
    config = Path(path) / "config.json"
    if config.is_file():
        settings = json.loads(config.read_text(encoding="utf-8"))
        weights = sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))
        width = 2 if "16" in str(settings.get("dtype", settings.get("torch_dtype", ""))) else 4
        settings = settings.get("text_config") or settings
        return {
            "parameters": weights / width,
            "hidden": settings.get("hidden_size", 1024),
            "layers": settings.get("num_hidden_layers", 24),
            "guess": False,
        }
    named = re.search(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", path.rpartition("/")[2].lower())
    parameters = float(named[1]) * (1e9 if named[2] == "b" else 1e6) if named else 1e9
    return {"parameters": parameters, "hidden": 2048, "layers": 24, "guess": True}


def layers_run(layer: float, depth: int) -> int:
    """How many layers run where an adapter is trained at this one; all if the depth, which may be guessed, lacks it."""
    try:
        return trained_layers(layer, depth)
    except PromptpoolError:
        return depth


def tokens_of(text: str) -> float:
    return len(text) / assumptions()["characters_per_token"]
