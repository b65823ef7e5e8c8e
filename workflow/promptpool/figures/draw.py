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

    `draw_<kind>` is found by its name, so that a figure's digest in its rule holds that figure's code alone.
    """
    drawn = globals().get(f"draw_{kind}")
    if drawn is None:
        raise ValueError(f"no figure is called {kind!r}")
    options = options or {}
    facts = read_facts(path for path in inputs if Path(path).name == "facts.json")
    tables = [path for path in inputs if Path(path).name != "facts.json"]
    drawn(tables, Path(svg).with_suffix(""), facts, **options)
    write_sidecar(svg, inputs=inputs, spec={"kind": kind, **options})


def draw_heat_map(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    figures.heat_map(pd.read_parquet(inputs[0]), out, facts, measures(facts))


def draw_ablation(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    figures.ablation(pd.read_parquet(inputs[0]), out, measures(facts))


def draw_score_by_step(inputs: Sequence[str], out: Path, facts: Mapping, **options: object) -> None:
    scores, steps = map(pd.read_parquet, inputs[:2])
    figures.score_by_step(scores, steps, out, facts, measures(facts), **options)


def draw_tuned(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    tuned(pd.read_parquet(inputs[0]), out, measures(facts))


def draw_layer_curves(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    layer_curves(pd.read_parquet(inputs[0]), facts, joined(inputs[1:]), out, measures(facts))


def draw_cost_scores(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    cost_scores(pd.read_parquet(inputs[0]), facts, joined(inputs[1:]), out, measures(facts))


def draw_benchmark(inputs: Sequence[str], out: Path, facts: Mapping, **options: object) -> None:
    benchmark(pd.read_parquet(inputs[0]), facts, out=out, measure=measures(facts), **options)


def draw_text_map(inputs: Sequence[str], out: Path, facts: Mapping, **options: object) -> None:
    text_map(pd.read_parquet(inputs[0]), out, **options)


def draw_training_curves(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    training_curves(adapter_tables(inputs, "training"), out, adapter_tables(inputs, "validation"))


def draw_pairs_qc(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    pairs_qc({Path(path).parent.name: json.loads(Path(path).read_text()) for path in inputs}, out)


def draw_attention_bars(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    attention_bars(read_shown(inputs[0]), out)


def draw_attention_spans(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    attention_spans(pd.read_parquet(inputs[1]), out)


def draw_attention_layers(inputs: Sequence[str], out: Path, facts: Mapping) -> None:
    attention_layers(pd.read_parquet(inputs[1]), out)


def joined(paths: Sequence[str]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def adapter_tables(folders: Sequence[str], name: str) -> dict[str, pd.DataFrame]:
    """Adapter -> its table of that name, for those that have one."""
    paths = {Path(folder).name: Path(folder) / f"{name}.parquet" for folder in folders}
    return {adapter: pd.read_parquet(path) for adapter, path in paths.items() if path.exists()}
