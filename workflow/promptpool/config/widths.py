"""Checks of numbers of dimensions against the models that lie on this machine. The hub's are not checked here."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def vector_width(path: str, pooling: str) -> int | None:
    """How many dimensions a local model's vectors have; None if that is not known before it is loaded."""
    try:
        known = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))
        width = (known.get("text_config") or known).get("hidden_size")
    except (OSError, ValueError, AttributeError):
        return None
    doubled = pooling.partition(":")[0] == "concat"
    return width * (2 if doubled else 1) if isinstance(width, int) else None


def width_faults(key: str, dims: Iterable[int], model: str, pooling: str, config: Mapping) -> Iterator[str]:
    """The faults of numbers of dimensions that a model's vectors do not have, or that are all of them."""
    width = vector_width(config["models"][model]["path"], pooling)
    for dim in dims:
        if width is not None and dim >= width:
            whose = f"vectors of model {model!r} with pooling {pooling}"
            yield f"{key}: {dim} is not fewer than the {width} dimensions of the {whose}; give a smaller number"
