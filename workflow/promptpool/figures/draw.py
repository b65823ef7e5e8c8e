"""The figures stage: draws an entry's figure from its input files, as SVG and PNG."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from ..artifacts.files import write_sidecar


def draw(
    kind: str, drawing: str, inputs: Mapping[str, Sequence[str]], svg: str, options: Mapping | None = None
) -> None:
    """Draws one figure. The PNG is written beside the SVG.

    kind: its entry's name; drawing: `module.function` in this folder; inputs: the function's arguments, each with the
    files that it is read from; options: its further arguments.
    """
    # Looked up by name, not imported by a statement: a figure's digest then covers only that figure's code.
    module, _, function = drawing.rpartition(".")
    drawn = getattr(import_module(f"{__package__}.{module}"), function)
    readers = import_module(f"{__package__}.readers")
    read = {name: getattr(readers, f"read_{name}", readers.read_table)(files) for name, files in inputs.items()}
    drawn(**read, **(options or {}), out=Path(svg).with_suffix(""))
    files = dict.fromkeys(path for paths in inputs.values() for path in paths)
    write_sidecar(svg, inputs=list(files), spec={"kind": kind, **(options or {})})
