"""The local files behind a path of the config. A rule has them as its input, so that it reruns if they change."""

import functools
from pathlib import Path

from ..hub.snapshots import looks_local

# The files that transformers and sentence-transformers load from a directory.
LOADED = {".safetensors", ".bin", ".json", ".model", ".txt", ".jinja"}


@functools.cache
def loaded_files(path: str) -> tuple[str, ...]:
    """A file, or the files that a model is loaded from if the path is its directory. Nothing for a hub id."""
    place = Path(path)
    if not looks_local(path) or not place.is_dir():
        return (path,) if place.is_file() else ()
    return tuple(sorted(str(file) for file in place.iterdir() if file.suffix in LOADED))
