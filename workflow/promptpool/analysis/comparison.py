"""The comparison stage: ablation tables, the headline table and benchmark averages, from scores and tasks' facts."""

import math
import time
from collections.abc import Mapping, Sequence

import pandas as pd

from ..artifacts.files import atomic_path, write_sidecar
from ..errors import PromptpoolError
from ..statistics.estimates import Estimate, Sample, holm, interval, outcomes, paired, ranks
from ..statistics.samples import VARIANT, read_facts, samples_by_variant
from ..variants import layer_name, split_adapter_id
from .score_table import BASELINE, benchmark_averages, label

Facts = Mapping[str, Mapping]  # task -> its facts
Scores = dict[str, Sample]  # task -> sample
RANKING = ["wins", "ties", "losses", "rank", "rank_low", "rank_high", "best", "p_best"]


def ablation_table(scores: pd.DataFrame, facts: Facts, name: str, spec: Mapping) -> pd.DataFrame:
    """One row per value of the varied thing and task (`mean` over tasks first), against the baseline.

    Columns: ablation, task, value, baseline, score, estimate, low, high, p, n, p_holm and, on `mean` rows alone,
    RANKING. `estimate` is the paired difference to the baseline's score; low, high and p are NaN where a task's spread
    is unknown. `p_holm` is Holm's adjustment over the ablation's `mean` rows. `wins`, `ties` and `losses` count tasks
    by their own intervals; `rank` is the mean rank over tasks among all values, the baseline with them.
    """
    found = _values(samples_by_variant(scores, facts), spec)
    vary, baseline = spec["vary"], _shown(spec["baseline"])
    if baseline not in found:
        raise PromptpoolError(f"ablations.{name}: no score for {vary} {baseline!r}; add it to the grid")
    for value, own in found.items():
        lacking = sorted(set(found[baseline]) ^ set(own))
        if lacking:
            raise PromptpoolError(
                f"ablations.{name}: {vary} {value!r} and the baseline differ in task {lacking[0]!r}; score both"
            )
    places = ranks(found)
    rows = []
    for value in sorted(found, key=lambda v: (v != baseline, split_adapter_id(v) if vary == "adapter" else (v, 0))):
        own, other = found[value], found[baseline]
        single = {task: paired({task: own[task]}, {task: other[task]}) for task in own}
        place, counts = places[value], outcomes(list(single.values()))
        ranking = (*counts, place.rank, place.low, place.high, place.best, place.p_best)
        start = {"ablation": name, "value": value, "baseline": baseline}
        rows.append({**start, "task": "mean", "score": interval(own).estimate, **vars(paired(own, other)),
                     **dict(zip(RANKING, ranking, strict=True))})  # fmt: skip
        rows += [{**start, "task": task, "score": own[task].estimate, **vars(one)} for task, one in single.items()]
    table = pd.DataFrame(rows)
    table["p_holm"] = float("nan")
    family = (table["task"] == "mean") & (table["value"] != baseline)
    table.loc[family, "p_holm"] = holm(table.loc[family, "p"].tolist())
    first = ["ablation", "task", "value", "baseline", "score", "estimate", "low", "high", "p", "n", "p_holm"]
    return table[[*first, *RANKING]]


def _shown(value: object) -> str:
    """A varied value as text: -1 stays -1 where a column of layers also holds 0.5."""
    return value if isinstance(value, str) else layer_name(value)


def _values(variants: Mapping[tuple, Scores], spec: Mapping) -> dict[str, Scores]:
    """Value of the varied thing -> scores, of the variants that an ablation compares."""
    vary, fixed, found = spec["vary"], dict(spec["fixed"]), {}
    if "adapter" in fixed:
        fixed["adapter"], fixed["step"] = split_adapter_id(fixed["adapter"])
    chosen = (
        {_shown(value) for value in (*(spec.get("values") or ()), spec["baseline"])} if spec.get("values") else None
    )
    for variant, scores in variants.items():
        row = dict(zip(VARIANT, variant, strict=True))
        if row["adapter"] == BASELINE or any(row[key] != wanted for key, wanted in fixed.items()):
            continue
        tuned = vary == "adapter" and row["step"]
        value = f"{row['adapter']}@{row['step']}" if tuned else _shown(row[vary])
        if chosen is None or value in chosen:
            found[value] = scores
    return found


def headline(scores: pd.DataFrame, facts: Facts, exports: Mapping, prompts: Mapping[str, str]) -> pd.DataFrame:
    """The run in a few rows: floors, the best untuned and tuned variants, and what was gained.

    Columns: row, kind (`score` or `difference`), task (`mean` or a task), label, VARIANT, score, low, high, n.
    The best variant is the best by its mean over the tasks, so it is picked on the data it is shown on.
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
    return {"row": row, "kind": kind, "task": task, "label": label(variant), **dict(zip(VARIANT, variant, strict=True)),
            "score": found.estimate, "low": found.low, "high": found.high, "n": found.n}  # fmt: skip


def write_ablation(parts: Sequence[str], facts: Sequence[str], out: str, name: str, spec: Mapping) -> None:
    """Writes one ablation's table from the score parts of what it compares."""
    started = time.time()
    known = read_facts(facts)
    scores = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    table = ablation_table(scores, known, name, spec)
    _write(out, table, [*parts, *facts], spec, started)


def write_headline(
    scores: str, facts: Sequence[str], out: str, text: str, *, run: str, exports: Mapping, prompts: Mapping[str, str]
) -> None:
    """Writes the headline as a table, and as the text that the demo prints at its end."""
    started = time.time()
    known = read_facts(facts)
    table = headline(pd.read_parquet(scores), known, exports, prompts)
    _write(out, table, [scores, *facts], {"exports": exports, "prompts": prompts}, started)
    with atomic_path(text) as temporary:
        temporary.write_text(as_text(table, run, measures(known)) + "\n", encoding="utf-8")


def write_benchmarks(scores: str, out: str, benchmarks: Mapping[str, Mapping[str, str]]) -> None:
    """Writes every benchmark's averages; those of an incomplete benchmark are missing, and a line says so."""
    started = time.time()
    table = benchmark_averages(pd.read_parquet(scores), benchmarks)
    for (benchmark, missing), rows in table[table["missing"] != ""].groupby(["benchmark", "missing"]):
        print(f"{benchmark}: no average for {len(rows)} variants, which lack {missing}")
    _write(out, table, [scores], {"benchmarks": benchmarks}, started)


def _write(out: str, table: pd.DataFrame, inputs: Sequence[str], spec: Mapping, started: float) -> None:
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    write_sidecar(out, inputs=inputs, spec=spec, started=started, rows=len(table))


def measures(facts: Facts) -> str:
    """What the tasks' main scores are, in words."""
    names = {fact["main_score"] for fact in facts.values()}
    return "V-measure" if names <= {"v_measure"} else f"main score ({', '.join(sorted(names))})"


def as_text(headline_table: pd.DataFrame, run: str, measure: str = "V-measure") -> str:
    """The headline as a terminal prints it (scores times 100), and where to look next."""
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
