"""The local files behind a path of the config: a rule has them as its input, so that another content runs it again."""

import functools
from pathlib import Path

from ..hub.snapshots import looks_local

# What transformers and sentence-transformers load from a directory.
LOADED = {".safetensors", ".bin", ".json", ".model", ".txt", ".jinja"}


@functools.cache
def loaded_files(path: str) -> tuple[str, ...]:
    """A file, or of a model's directory those that it is loaded from. Nothing of what lies on the hub."""
    place = Path(path)
    if not looks_local(path) or not place.is_dir():
        return (path,) if place.is_file() else ()
    return tuple(sorted(str(file) for file in place.iterdir() if file.suffix in LOADED))
