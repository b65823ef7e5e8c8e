"""The figures stage: a kind of figure and its input files -> SVG and PNG."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..analysis.comparison import measures
from ..artifacts.files import write_sidecar
from ..attention.table import read_shown
from ..statistics.samples import read_facts
from . import scores as figures
from .attention import attention_bars, attention_layers, attention_spans
from .benchmark import benchmark
from .layers import cost_scores, layer_curves
from .map import text_map
from .pairs import pairs_qc
from .training import training_curves
from .tuned import tuned


def draw(kind: str, inputs: Sequence[str], svg: str, options: Mapping | None = None) -> None:
    """Draws one figure. inputs: the files its rule names, in that order, tasks' facts.json anywhere among them;
    options: further arguments of the figure's own. The PNG lies beside the SVG.
    """
    out = Path(svg).with_suffix("")
    facts = read_facts(path for path in inputs if Path(path).name == "facts.json")
    given, inputs = inputs, [path for path in inputs if Path(path).name != "facts.json"]
    measure, options = measures(facts), options or {}
    if kind == "heat_map":
        figures.heat_map(pd.read_parquet(inputs[0]), out, facts, measure)
    elif kind == "ablation":
        figures.ablation(pd.read_parquet(inputs[0]), out, measure)
    elif kind == "score_by_step":
        steps = pd.read_parquet(inputs[1])
        figures.score_by_step(pd.read_parquet(inputs[0]), steps, out, facts, measure, **options)
    elif kind == "tuned":
        tuned(pd.read_parquet(inputs[0]), out, measure)
    elif kind in ("layer_curves", "cost_scores"):
        drawn = layer_curves if kind == "layer_curves" else cost_scores
        costs = pd.concat([pd.read_parquet(path) for path in inputs[1:]], ignore_index=True)
        drawn(pd.read_parquet(inputs[0]), facts, costs, out, measure)
    elif kind == "benchmark":
        benchmark(pd.read_parquet(inputs[0]), facts, out=out, measure=measure, **options)
    elif kind == "text_map":
        text_map(pd.read_parquet(inputs[0]), out, **options)
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
    write_sidecar(svg, inputs=given, spec={"kind": kind, **options})


def adapter_tables(folders: Sequence[str], name: str) -> dict[str, pd.DataFrame]:
    """Adapter -> its table of that name, for those that have one."""
    paths = {Path(folder).name: Path(folder) / f"{name}.parquet" for folder in folders}
    return {adapter: pd.read_parquet(path) for adapter, path in paths.items() if path.exists()}
