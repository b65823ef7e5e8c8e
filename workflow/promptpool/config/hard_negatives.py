"""Checks of an adapter's hard negatives."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..hub.snapshots import looks_local
from ..templates import SLOT
from .references import absent


def hard_negatives(key: str, adapter: Mapping, config: Mapping) -> Iterator[str]:
    """The faults of `hard_negatives` of an adapter that is trained here."""
    spec = adapter["hard_negatives"]
    if spec is None:
        return
    if spec["from"] == "given":
        corpora = [config["pairs"][name]["corpus"] for name in adapter["pairs"]]
        if not any(config["corpora"][name].get("negative") for name in corpora):
            where = f"corpora.{corpora[0]}.negative"
            yield f"{key}.from: given needs a corpus with negatives; name their column in {where}, or write mined"
        return
    first, last = spec["ranks"]
    if first > last:
        yield f"{key}.ranks: {first} is above {last}; give the first rank, then the last"
    if spec["prompt"].count(SLOT) != 1:
        yield f"{key}.prompt: {spec['prompt']!r} needs exactly one {SLOT}; add it"
    model = spec["model"]
    if model is not None and model not in config["models"]:
        if not looks_local(model):
            yield absent(f"{key}.model", "model", model, config["models"], "models")
        elif not Path(model).is_dir():
            yield f"{key}.model: no such directory: {model!r}; fix the path, or name one of models"
