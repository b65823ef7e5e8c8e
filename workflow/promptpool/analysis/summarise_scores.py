"""The headline table: floors, the best untuned and tuned variants, and the gains."""

import math
import time
from collections.abc import Mapping, Sequence

import pandas as pd

from ..artifacts.files import atomic_path, write_table
from ..statistics.estimates import Estimate, interval, paired
from ..statistics.samples import VARIANT, read_facts, samples_by_variant
from ..variants import split_adapter_id
from .score_table import BASELINE, measures, variant_label

Facts = Mapping[str, Mapping]  # task -> its facts


def summarise_scores(
    scores: str, facts: Sequence[str], out: str, text: str, *, run: str, exports: Mapping, prompts: Mapping[str, str]
) -> None:
    """Writes the headline as a table, and as the text that the demo prints at the end."""
    started = time.time()
    known = read_facts(facts)
    table = headline(pd.read_parquet(scores), known, exports, prompts)
    write_table(out, table, inputs=[scores, *facts], spec={"exports": exports, "prompts": prompts}, started=started)
    with atomic_path(text) as temporary:
        temporary.write_text(as_text(table, run, measures(known)) + "\n", encoding="utf-8")


def headline(scores: pd.DataFrame, facts: Facts, exports: Mapping, prompts: Mapping[str, str]) -> pd.DataFrame:
    """The run in a few rows: floors, the best untuned and tuned variants, and the gains.

    Columns: row, kind (`score` or `difference`), task (`mean` or a task), label, VARIANT, score, low, high, n.
    The best variant has the best mean over the tasks, so it is picked on the same data that it is shown on.
    """
    variants = samples_by_variant(scores, facts)
    means = {variant: interval(values).estimate for variant, values in variants.items()}
    floors = [v for v in variants if v[1] == BASELINE]
    untuned = max((v for v in variants if v[1] == "base"), key=means.get)
    tuned = max((v for v in variants if v[1] not in ("base", BASELINE)), key=means.get, default=None)
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
        for task, sample in variants[variant].items():
            rows.append(_row(f"export {name}", "score", variant, interval({task: sample}), task))
        start = (spec["model"], "base", 0, plain[0] if plain else "", spec["pooling"], layer)
        if start in variants:
            difference = paired(variants[variant], variants[start])
            rows.append(
                _row(f"export {name} - untuned, no prompt, {spec['pooling']}", "difference", variant, difference)
            )
    return pd.DataFrame(rows)


def _row(row: str, kind: str, variant: tuple, found: Estimate, task: str = "mean") -> dict:
    return {"row": row, "kind": kind, "task": task, "label": variant_label(variant),
            **dict(zip(VARIANT, variant, strict=True)),
            "score": found.estimate, "low": found.low, "high": found.high, "n": found.n}  # fmt: skip


def as_text(headline_table: pd.DataFrame, run: str, measure: str = "V-measure") -> str:
    """The headline as text for a terminal (scores times 100), and where to look next."""
    shown = headline_table[headline_table["task"] == "mean"]
    width = max(map(len, shown["row"]))
    lines = [f"{measure} x 100, mean over tasks [95 % interval], run {run}", ""]
    for row in shown.itertuples():
        sign = "+" if row.kind == "difference" else ""
        value, low, high = (f"{100 * number:{sign}.1f}" for number in (row.score, row.low, row.high))
        bounds = "[not known]" if math.isnan(row.low) else f"[{low}, {high}]"
        lines.append(f"  {row.row:<{width}}  {value:>5} {bounds}  {row.label if sign == '' else ''}".rstrip())
    base = f"results/{run}"
    lines += ["", f"Look at {base}/report.html first. Every number is a row of {base}/scores.parquet;"]
    lines += [f"figures are in {base}/figures/, exported models in {base}/models/."]
    return "\n".join(lines)
