"""The comparison stage: ablation tables and the headline table, from scores.parquet."""

import time
from collections.abc import Mapping

import pandas as pd

from .artifacts import atomic_path, write_sidecar
from .config_adapters import split_adapter_id
from .errors import PromptpoolError
from .statistics import Estimate, holm, interval, paired
from .variants import layer_name

VARIANT = ["model", "adapter", "step", "prompt", "pooling", "layer"]
METRIC = "v_measure"
Scores = dict[str, list[float]]  # task -> values, experiment by experiment


def by_variant(scores: pd.DataFrame) -> dict[tuple, Scores]:
    """(model, adapter, step, prompt, pooling, layer) -> scores, experiments in a fixed order."""
    rows = scores[scores["metric"] == METRIC].sort_values(["task", "split", "subset", "level", "experiment"])
    return {
        variant: {task: part["value"].tolist() for task, part in group.groupby("task")}
        for variant, group in rows.groupby(VARIANT)
    }


def label(variant: tuple) -> str:
    """What a person calls a variant."""
    model, adapter, step, prompt, pooling, layer = variant
    if adapter == "baseline":
        return model
    tuned = "untuned" if adapter == "base" else f"{adapter}@{step}"
    return f"{model}, {tuned}, prompt {prompt}, {pooling}" + ("" if layer == -1 else f", layer {layer_name(layer)}")


def ablation_table(scores: pd.DataFrame, name: str, spec: Mapping) -> pd.DataFrame:
    """One row per value of the varied thing and task (`mean` over tasks first), against the baseline.

    Columns: ablation, task, value, baseline, score, estimate, low, high, p, p_holm (Holm over the ablation's
    `mean` rows), n. `estimate` is the paired difference to the baseline's score.
    """
    variants = by_variant(scores)
    vary = spec["vary"]
    columns = ["adapter", "step"] if vary == "adapter" else [vary]
    fixed = dict(spec["fixed"])
    if "adapter" in fixed:
        fixed["adapter"], fixed["step"] = split_adapter_id(fixed["adapter"])
    found = {}
    for variant, values in variants.items():
        row = dict(zip(VARIANT, variant, strict=True))
        if row["adapter"] != "baseline" and all(row[key] == wanted for key, wanted in fixed.items()):
            key = tuple(row[column] for column in columns)
            found[f"{key[0]}@{key[1]}" if vary == "adapter" and key[1] else _shown(key[0])] = values
    baseline = _shown(spec["baseline"])
    if baseline not in found:
        raise PromptpoolError(f"ablations.{name}: no score for {vary} {baseline!r}; add it to the grid")
    rows = []
    for value in sorted(found, key=lambda v: (v != baseline, split_adapter_id(v) if vary == "adapter" else (v, 0))):
        tasks = {"mean": list(found[value])} | {task: [task] for task in found[value]}
        for task, members in tasks.items():
            own = {member: found[value][member] for member in members}
            other = {member: found[baseline][member] for member in members}
            difference = paired(own, other)
            rows.append({"ablation": name, "task": task, "value": value, "baseline": baseline,
                         "score": interval(own).estimate, **vars(difference)})  # fmt: skip
    table = pd.DataFrame(rows)
    table["p_holm"] = float("nan")
    family = (table["task"] == "mean") & (table["value"] != baseline)
    if family.any():
        table.loc[family, "p_holm"] = holm(table.loc[family, "p"].tolist())
    return table


def _shown(value: object) -> str:
    """A varied value as text: -1 stays -1 where a column of layers also holds 0.5."""
    return value if isinstance(value, str) else layer_name(value)


def headline(scores: pd.DataFrame, exports: Mapping, prompts: Mapping[str, str]) -> pd.DataFrame:
    """The run in a few rows: floors, the best untuned and tuned variants, and what was gained.

    Columns: row, kind (`score` or `difference`), task (`mean` or a task), label, VARIANT, score, low, high, n.
    The best variant is the best by its mean over the tasks, so it is picked on the data it is shown on.
    """
    variants = by_variant(scores)
    means = {variant: interval(values).estimate for variant, values in variants.items()}
    floors = [v for v in variants if v[1] == "baseline"]
    untuned = max((v for v in variants if v[1] == "base"), key=means.get)
    tuned = max((v for v in variants if v[1] not in ("base", "baseline")), key=means.get, default=None)
    rows = [_row(v[0], "score", v, interval(variants[v])) for v in sorted(floors)]
    rows.append(_row("best untuned", "score", untuned, interval(variants[untuned])))
    if tuned:
        rows.append(_row("best tuned", "score", tuned, interval(variants[tuned])))
        rows.append(_row("best tuned - best untuned", "difference", tuned, paired(variants[tuned], variants[untuned])))
        for floor in sorted(floors):
            rows.append(_row(f"best tuned - {floor[0]}", "difference", tuned, paired(variants[tuned], variants[floor])))
            for task in variants[tuned]:
                own, other = ({task: variants[v][task]} for v in (tuned, floor))
                rows.append(_row(f"best tuned - {floor[0]}", "difference", tuned, paired(own, other), task))
    plain = [name for name, template in prompts.items() if template == "{text}"]
    for name, spec in exports.items():
        layer = spec.get("layer", -1)
        variant = (spec["model"], *split_adapter_id(spec["adapter"]), spec["prompt"], spec["pooling"], layer)
        if variant not in variants:
            continue
        rows.append(_row(f"export {name}", "score", variant, interval(variants[variant])))
        start = (spec["model"], "base", 0, plain[0] if plain else "", spec["pooling"], layer)
        if start in variants:
            difference = paired(variants[variant], variants[start])
            rows.append(
                _row(f"export {name} - untuned, no prompt, {spec['pooling']}", "difference", variant, difference)
            )
    return pd.DataFrame(rows)


def _row(row: str, kind: str, variant: tuple, found: Estimate, task: str = "mean") -> dict:
    return {"row": row, "kind": kind, "task": task, "label": label(variant), **dict(zip(VARIANT, variant, strict=True)),
            "score": found.estimate, "low": found.low, "high": found.high, "n": found.n}  # fmt: skip


def write_ablation(scores: str, out: str, name: str, spec: Mapping) -> None:
    _write(out, ablation_table(pd.read_parquet(scores), name, spec), scores, spec)


def write_headline(scores: str, out: str, text: str, *, run: str, exports: Mapping, prompts: Mapping[str, str]) -> None:
    """Writes the headline as a table, and as the text that the demo prints at its end."""
    table = headline(pd.read_parquet(scores), exports, prompts)
    _write(out, table, scores, {"exports": exports, "prompts": prompts})
    with atomic_path(text) as temporary:
        temporary.write_text(as_text(table, run) + "\n", encoding="utf-8")


def _write(out: str, table: pd.DataFrame, scores: str, spec: Mapping) -> None:
    started = time.time()
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    write_sidecar(out, inputs=[scores], spec=spec, started=started, rows=len(table))


def as_text(headline_table: pd.DataFrame, run: str) -> str:
    """The headline as a terminal prints it (V-measure times 100), and where to look next."""
    shown = headline_table[headline_table["task"] == "mean"]
    width = max(map(len, shown["row"]))
    lines = [f"V-measure x 100, mean over tasks [95 % interval], run {run}", ""]
    for row in shown.itertuples():
        sign = "+" if row.kind == "difference" else ""
        value, low, high = (f"{100 * number:{sign}.1f}" for number in (row.score, row.low, row.high))
        lines.append(f"  {row.row:<{width}}  {value:>5} [{low}, {high}]  {row.label if sign == '' else ''}".rstrip())
    base = f"results/{run}"
    lines += ["", f"Look at {base}/report.html first. Every number is a row of {base}/scores.parquet;"]
    lines += [f"figures are in {base}/figures/, exported models in {base}/models/."]
    return "\n".join(lines)
