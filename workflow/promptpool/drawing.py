"""The figures stage: a kind of figure and its input files -> SVG and PNG."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from . import figures
from .artifacts import write_sidecar
from .attention_table import read_shown
from .figure_attention import attention_bars, attention_layers, attention_spans
from .figure_pairs import pairs_qc
from .figure_training import training_curves


def draw(kind: str, inputs: Sequence[str], svg: str) -> None:
    """Draws one figure. inputs: the files its rule names, in that order; the PNG lies beside the SVG."""
    out = Path(svg).with_suffix("")
    if kind == "heat_map":
        figures.heat_map(pd.read_parquet(inputs[0]), out)
    elif kind == "ablation":
        figures.ablation(pd.read_parquet(inputs[0]), out)
    elif kind == "score_by_step":
        figures.score_by_step(pd.read_parquet(inputs[0]), pd.read_parquet(inputs[1]), out)
    elif kind == "training_curves":
        training_curves(adapter_tables(inputs, "training"), out, adapter_tables(inputs, "validation"))
    elif kind == "pairs_qc":
        pairs_qc({Path(path).parent.name: json.loads(Path(path).read_text()) for path in inputs}, out)
    elif kind == "attention_bars":
        attention_bars(read_shown(inputs[0]), out)
    elif kind == "attention_spans":
        attention_spans(pd.read_parquet(inputs[1]), out)
    elif kind == "attention_layers":
        attention_layers(pd.read_parquet(inputs[1]), out)
    else:
        raise ValueError(f"no figure is called {kind!r}")
    write_sidecar(svg, inputs=inputs, spec={"kind": kind})


def adapter_tables(folders: Sequence[str], name: str) -> dict[str, pd.DataFrame]:
    """Adapter -> its table of that name, for those that have one."""
    paths = {Path(folder).name: Path(folder) / f"{name}.parquet" for folder in folders}
    return {adapter: pd.read_parquet(path) for adapter, path in paths.items() if path.exists()}
