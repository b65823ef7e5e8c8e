"""One ablation's table: the effect of one varied thing, or of two, as paired differences to its baseline."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..artifacts.files import write_table
from ..artifacts.parts import listed_files
from ..errors import PromptpoolError
from ..statistics.best import Scores, ranks
from ..statistics.estimates import Estimate, holm, mean_of, outcomes, paired
from ..statistics.samples import VARIANT, read_facts, samples_by_variant, seeds_of
from ..variants import RAW, layer_name, split_adapter_id, split_readout
from .ablation_grid import AXES
from .axes import baseline_of, compared, varied
from .score_table import BASELINE
from .seeds import with_seeds

RANKING = ["wins", "ties", "losses", "rank", "rank_low", "rank_high", "best", "p_best"]


def compare_ablation(manifests: Sequence[str], facts: Sequence[str], out: str, name: str, spec: Mapping) -> None:
    """Writes one ablation's table from the scores of the checkpoints that it compares. spec: `Study.ablation_spec`."""
    started = time.time()
    parts = list(listed_files(manifests, ".parquet", spec["tasks"]))
    known = read_facts(facts)
    scores = with_seeds(pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True), spec.get("seeds", {}))
    table = ablation_table(scores, known, name, spec)
    write_table(out, table, inputs=[*manifests, *parts, *facts], spec=spec, started=started)


def ablation_table(scores: pd.DataFrame, facts: Mapping[str, Mapping], name: str, spec: Mapping) -> pd.DataFrame:
    """One row per value of the varied thing and task (`mean` over tasks first), compared with the baseline.

    Columns: ablation, task, value, baseline, score, estimate, low, high, p, n, p_holm, effect, detectable, seeds (over
    how many trainings of the value the score is a mean) and, only on `mean` rows, RANKING. `estimate` is the paired
    difference to the baseline's score; low, high and p are NaN if a task's spread is unknown. `p_holm` is Holm's
    adjustment over the ablation's `mean` rows. `wins`, `ties` and `losses` count tasks by their own intervals; `rank`
    is the mean rank over tasks among all values, including the baseline. If two things vary, a value is `row, column`,
    and the columns AXES have both apart.
    """
    found = _values(samples_by_variant(scores, facts), spec)
    axes, baseline = varied(spec), tuple(map(_shown, baseline_of(spec).values()))
    vary = ", ".join(axes)
    if baseline not in found:
        raise PromptpoolError(f"ablations.{name}: no score for {vary} {', '.join(baseline)!r}; add it to the grid")
    for value, own in found.items():
        lacking = sorted(set(found[baseline]) ^ set(own))
        if lacking:
            raise PromptpoolError(
                f"ablations.{name}: {vary} {', '.join(value)!r} and the baseline differ in task {lacking[0]!r}; score "
                "both"
            )
    places = ranks(found)
    rows = []
    for value in sorted(found, key=lambda value: _place(value, baseline, axes)):
        own, other = found[value], found[baseline]
        single = {task: paired({task: own[task]}, {task: other[task]}) for task in own}
        place, counts = places[value], outcomes(list(single.values()))
        ranking = (*counts, place.rank, place.low, place.high, place.best, place.p_best)
        start = {"ablation": name, "value": ", ".join(value), "baseline": ", ".join(baseline), "seeds": seeds_of(own)}
        if len(axes) == 2:
            start |= dict(zip(AXES, (vary, *value), strict=True))
        rows.append({**start, "task": "mean", "score": mean_of(own), **_columns(paired(own, other)),
                     "effect": _effect(single), **dict(zip(RANKING, ranking, strict=True))})  # fmt: skip
        rows += [{**start, "task": task, "score": own[task].estimate, **_columns(one)} for task, one in single.items()]
    table = pd.DataFrame(rows)
    table["p_holm"] = float("nan")
    family = (table["task"] == "mean") & (table["value"] != table["baseline"])
    table.loc[family, "p_holm"] = holm(table.loc[family, "p"].tolist())
    first = ["ablation", "task", "value", "baseline", "score", "estimate", "low", "high", "p", "n", "p_holm"]
    return table[[*first, "effect", "detectable", "seeds", *RANKING, *AXES[: 3 * (len(axes) == 2)]]]


def _columns(one: Estimate) -> dict:
    return {**vars(one), "detectable": one.detectable}


def _effect(single: Mapping[str, Estimate]) -> float:
    """Cohen's d of paired differences: their mean over tasks by their standard deviation; NaN for a single task."""
    values = [one.estimate for one in single.values()]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)) / spread if spread else float("nan")


def _shown(value: object) -> str:
    """A varied value as text. -1 stays -1 even if a column of layers also holds 0.5."""
    return value if isinstance(value, str) else layer_name(value)


def _place(value: Sequence[str], baseline: Sequence[str], axes: Sequence[str]) -> list:
    """Sorts values: on each axis the baseline's first, adapters by name and step."""
    return [
        (own != first, split_adapter_id(own) if axis == "adapter" else (own, 0))
        for own, first, axis in zip(value, baseline, axes, strict=True)
    ]


def _values(variants: Mapping[tuple, Scores], spec: Mapping) -> dict[tuple[str, ...], Scores]:
    """Value on each axis -> scores, for the variants that an ablation compares."""
    axes, fixed, found = varied(spec), dict(spec["fixed"]), {}
    if "post_processing" not in axes:
        fixed.setdefault("post_processing", RAW)
    if "adapter" in fixed:
        fixed["adapter"], fixed["step"] = split_adapter_id(fixed["adapter"])
    chosen = {axis: set(map(_shown, values)) for axis in axes if (values := compared(spec, axis)) is not None}
    for variant, scores in variants.items():
        row = dict(zip(VARIANT, variant, strict=True))
        row["pooling"], row["post_processing"] = split_readout(row["pooling"])
        if row["adapter"] == BASELINE or any(row[key] != wanted for key, wanted in fixed.items()):
            continue
        if row["step"]:
            row["adapter"] = f"{row['adapter']}@{row['step']}"
        value = {axis: _shown(row[axis]) for axis in axes}
        if all(value[axis] in values for axis, values in chosen.items()):
            found[tuple(value.values())] = scores
    return found
