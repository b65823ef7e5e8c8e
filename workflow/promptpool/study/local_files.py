"""The local files behind a path of the config: a rule has them as its input, so that another content runs it again."""

import functools
import json
import struct
from pathlib import Path

from ..config.references import looks_local
from ..errors import PromptpoolError

# What transformers and sentence-transformers load from a directory.
LOADED = {".safetensors", ".bin", ".json", ".model", ".txt", ".jinja"}


@functools.cache
def loaded_files(path: str) -> tuple[str, ...]:
    """A file, or of a model's directory those that it is loaded from. Nothing of what lies on the hub."""
    place = Path(path)
    if not looks_local(path) or not place.is_dir():
        return (path,) if place.is_file() else ()
    return tuple(sorted(str(file) for file in place.iterdir() if file.suffix in LOADED))


def require_readable(path: str | Path) -> None:
    """Raises, naming the file, for one that can't be opened, JSON that is none, and safetensors that are cut off.

    Libraries pass over some of these, and of others they don't say which file it was. What a user's file holds has no
    digest to be held against.
    """
    path = Path(path)
    with open(path, "rb") as handle:
        if path.suffix == ".json":
            try:
                json.load(handle)
            except (ValueError, RecursionError) as error:
                raise PromptpoolError(f"{path}: is no JSON ({error}); put the whole file there") from None
        elif path.suffix == ".safetensors":
            size = path.stat().st_size
            start = handle.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            try:
                header = json.loads(handle.read(length)) if length < size else None
                ends = [told["data_offsets"][1] for name, told in header.items() if name != "__metadata__"]
                whole = 8 + length + max(ends, default=0) == size
            except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
                whole = False
            if not whole:
                raise PromptpoolError(f"{path}: is not whole ({size} bytes); put the whole file there")
