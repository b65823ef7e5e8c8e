"""The figures stage: an entry's drawing function and its input files -> SVG and PNG."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd

from ..analysis.comparison import measures
from ..artifacts.files import write_sidecar
from ..attention.table import read_shown
from ..statistics.samples import read_facts


def draw(
    kind: str, drawing: str, inputs: Mapping[str, Sequence[str]], svg: str, options: Mapping | None = None
) -> None:
    """Draws one figure; the PNG lies beside the SVG.

    kind: its entry's name; drawing: `module.function` in this folder; inputs: the function's arguments, each with the
    files that it is read from; options: its further arguments.
    """
    module, _, function = drawing.rpartition(".")
    drawn = getattr(import_module(f"{__package__}.{module}"), function)
    read = {argument: READERS.get(argument, _table)(files) for argument, files in inputs.items()}
    drawn(**read, **(options or {}), out=Path(svg).with_suffix(""))
    files = dict.fromkeys(path for paths in inputs.values() for path in paths)
    write_sidecar(svg, inputs=list(files), spec={"kind": kind, **(options or {})})


def _table(files: Sequence[str]) -> pd.DataFrame:
    (path,) = files
    return pd.read_parquet(path)


def _costs(files: Sequence[str]) -> pd.DataFrame:
    """The tables of all models as one."""
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


def _qc(files: Sequence[str]) -> dict[str, dict]:
    """Pair set -> its qc.json."""
    return {Path(path).parent.name: json.loads(Path(path).read_text(encoding="utf-8")) for path in files}


def _adapter_tables(folders: Sequence[str], name: str) -> dict[str, pd.DataFrame]:
    """Adapter -> its table of that name, for those that have one."""
    paths = {Path(folder).name: Path(folder) / f"{name}.parquet" for folder in folders}
    return {adapter: pd.read_parquet(path) for adapter, path in paths.items() if path.exists()}


# How a drawing function's argument is read from its files, by the argument's name; any other is one parquet.
READERS: Mapping[str, Callable[[Sequence[str]], object]] = {
    "costs": _costs,
    "facts": read_facts,
    "measure": lambda files: measures(read_facts(files)),
    "logs": lambda folders: _adapter_tables(folders, "training"),
    "validations": lambda folders: _adapter_tables(folders, "validation"),
    "qc": _qc,
    "shown": lambda files: read_shown(*files),
}
