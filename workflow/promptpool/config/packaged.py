"""Baselines whose model lies inside an installed Python package, so that a study needs no hub for a rival."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path


def package_folder(name: str) -> Path | None:
    """The folder of a package, found without importing it; None if it is not installed."""
    try:
        found = find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(found.origin).parent if found and found.origin else None


def packaged_faults(key: str, spec: Mapping) -> Iterator[str]:
    """The faults of a baseline with `package`. One whose package is not installed has none: it is left out."""
    folder = package_folder(spec["package"])
    if Path(spec["path"]).is_absolute():
        yield f"{key}.path: {spec['path']!r} is absolute, and with package it is inside that; write it relative"
    if spec["revision"] is not None:
        yield f"{key}.revision: {spec['revision']!r} is for a hub model, and a package has a version; remove it"
    if folder and not (folder / spec["path"]).is_dir():
        yield f"{key}.path: package {spec['package']} has no directory {spec['path']!r}; fix the path, or the version"


def left_out(config: Mapping) -> list[str]:
    """A line for each baseline of a config, as given, whose package is not installed."""
    return [
        f"baselines.{name}: package {spec['package']} is not installed, so this baseline is left out"
        for name, spec in (config.get("baselines") or {}).items()
        if isinstance(spec, Mapping) and spec.get("package") and package_folder(spec["package"]) is None
    ]


def place_packaged(config: dict) -> None:
    """Replaces `package` and `path` of every such baseline by the directory, in place; removes what is not installed.

    `package` is removed from all baselines: what decides a baseline's vectors is the directory's content.
    """
    for name, spec in list(config["baselines"].items()):
        package = spec.pop("package", None)
        if package is None:
            continue
        folder = package_folder(package)
        if folder is None:
            del config["baselines"][name]
        else:
            spec["path"] = as_written(folder / spec["path"])


def as_written(path: Path) -> str:
    """As a user would write it: relative where it lies below the working directory, as in this checkout's `.venv`.

    So neither sidecars nor the report name the machine's folders, and another checkout has the same parameters.
    """
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
