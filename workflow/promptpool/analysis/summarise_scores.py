"""The headline table: floors, the best untuned and tuned variants, and the gains."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..artifacts.files import atomic_path, write_table
from ..statistics.best import Scores, best_difference, best_of
from ..statistics.estimates import Estimate, interval, mean_of, paired
from ..statistics.samples import VARIANT, read_facts, samples_by_variant, seeds_of
from ..variants import RAW, readout_name, split_adapter_id
from .ablation_grid import as_markdown
from .choice_rows import choice_headline, choice_lines
from .propose_checkpoint import Proposal, in_a_line, propose_checkpoint, validations
from .score_table import BASELINE, measures, variant_label
from .seeds import first_seed_only
from .synthetic import synthetic_notes

Facts = Mapping[str, Mapping]  # task -> its facts
HEADLINE = ["row", "kind", "task", "label", *VARIANT, "score", "low", "high", "n", "p", "detectable", "of", "seeds"]


def summarise_scores(
    scores: str,
    facts: Sequence[str],
    out: str,
    text: str,
    *,
    run: str,
    exports: Mapping,
    prompts: Mapping[str, str],
    seeds: Mapping[str, int] | None = None,
    tables: Sequence[str] = (),
    verdict: str | None = None,
    trainings: Sequence[str] = (),
    judged: Mapping | None = None,
    choice: Sequence[str] = (),
) -> None:
    """Writes the headline as a table, and as the text that the demo prints at the end.

    seeds: of `headline`. tables: the files of ablations over two axes, which the text shows too, as it shows the lines
    of the file `verdict`. trainings and judged: of `propose_checkpoint`. choice: the tables of `judge_choice`.
    """
    started = time.time()
    known = read_facts(facts)
    measured = pd.read_parquet(scores)
    proposal = propose_checkpoint(trainings, judged or {})
    table = headline(measured, known, exports, prompts, seeds or {}, proposal)
    chosen = list(map(pd.read_parquet, choice))
    if chosen and len(table):
        table = pd.concat([table, pd.DataFrame(choice_headline(chosen[0]), columns=table.columns)], ignore_index=True)
    write_table(
        out,
        table,
        inputs=[scores, *facts, *validations(trainings), *choice],
        spec={"exports": exports, "prompts": prompts},
        started=started,
    )
    lines = Path(verdict).read_text(encoding="utf-8").splitlines() if verdict else []
    if proposal:
        lines += in_a_line(proposal, samples_by_variant(measured, known)).split("\n")
    lines += choice_lines(*chosen) if chosen else []
    with atomic_path(text) as temporary:
        words = as_text(table, run, measures(known), list(map(pd.read_parquet, tables)), lines)
        temporary.write_text(words + "\n", encoding="utf-8")


def headline(
    scores: pd.DataFrame,
    facts: Facts,
    exports: Mapping,
    prompts: Mapping[str, str],
    seeds: Mapping[str, int] = {},
    proposal: Proposal | None = None,
) -> pd.DataFrame:
    """The run in a few rows: floors, the best untuned and tuned variants, and the gains.

    Columns: row, kind (`score` or `difference`), task (`mean` or a task), label, VARIANT, score, low, high, n, p,
    detectable, of, seeds. `of` counts the variants, or the pairs of variants, among which a row's was picked by its
    mean over the tasks. If there are several, its interval and p hold for all of them at once (`statistics.best`). A
    tuned variant is a mean over so many `seeds`. An export is one training: its rows are of the first seed (seeds:
    adapter -> that). proposal: its row `proposed` was chosen without scores, so its interval is an ordinary one.
    """
    variants = samples_by_variant(scores, facts)
    if not variants:  # a study without tasks
        return pd.DataFrame(columns=HEADLINE)
    kinds: dict[str, list[tuple]] = {}
    for variant in variants:
        kinds.setdefault({BASELINE: f"{BASELINE} {variant[0]}", "base": "untuned"}.get(variant[1], "tuned"), []).append(
            variant
        )
    picked = {kind: _Picked(own, variants) for kind, own in kinds.items()}
    floors = [picked[kind] for kind in sorted(picked) if kind.startswith(BASELINE)]
    untuned, tuned = picked["untuned"], picked.get("tuned")
    most = len(untuned.tasks)
    names = {floor.best: floor.best[0] + _partly(len(floor.tasks), most) for floor in floors}
    rows = [_row(names[floor.best], "score", floor.best, floor.score(), of=len(floor)) for floor in floors]
    rows.append(_row("best untuned", "score", untuned.best, untuned.score(), of=len(untuned)))
    if tuned:
        rows.append(_row("best tuned", "score", tuned.best, tuned.score(), of=len(tuned)))
        gain = tuned.beyond(untuned)
        rows.append(_row("best tuned - best untuned", "difference", tuned.best, gain, of=len(tuned) * len(untuned)))
        for floor in floors:
            name, pairs = f"best tuned - {names[floor.best]}", len(tuned) * len(floor)
            rows.append(_row(name, "difference", tuned.best, tuned.beyond(floor), of=pairs))
            for task in floor.tasks:
                rows.append(_row(name, "difference", tuned.best, tuned.beyond(floor, task), task, of=pairs))
    if proposal and proposal.variant in variants:
        rows.append(_row("proposed", "score", proposal.variant, interval(variants[proposal.variant])))
    for row in rows:
        row["seeds"] = seeds_of(variants[tuple(row[key] for key in VARIANT)])
        row["label"] += f", mean of {row['seeds']} seeds" if row["seeds"] > 1 else ""
    rows += _exports(samples_by_variant(first_seed_only(scores, seeds), facts), exports, prompts)
    return pd.DataFrame(rows)


def _exports(variants: Mapping[tuple, Scores], exports: Mapping, prompts: Mapping[str, str]) -> list[dict]:
    """The rows of what is exported, each named beforehand, with the gain over the untuned model without a prompt."""
    rows: list[dict] = []
    plain = [name for name, template in prompts.items() if template == "{text}"]
    for name, spec in exports.items():
        layer = spec.get("layer", -1)
        cut = spec.get("truncate_dim")
        pooling = readout_name(spec["pooling"], f"cut({cut})" if cut else spec.get("post_processing", RAW))
        variant = (spec["model"], *split_adapter_id(spec["adapter"]), spec["prompt"], pooling, layer)
        if variant not in variants:
            continue
        rows.append(_row(f"export {name}", "score", variant, interval(variants[variant])))
        for task, sample in variants[variant].items():
            rows.append(_row(f"export {name}", "score", variant, interval({task: sample}), task))
        start = (spec["model"], "base", 0, plain[0] if plain else "", pooling, layer)
        if start in variants:
            difference = paired(variants[variant], variants[start])
            rows.append(_row(f"export {name} - untuned, no prompt, {pooling}", "difference", variant, difference))
    return rows


class _Picked:
    """The variants of one kind, and the best of those that have every task."""

    def __init__(self, own: Sequence[tuple], variants: Mapping[tuple, Scores]):
        most = max(len(variants[variant]) for variant in own)
        self.names = [variant for variant in own if len(variants[variant]) == most]
        self.scores = [variants[variant] for variant in self.names]
        self.place = max(range(len(self.names)), key=lambda place: mean_of(self.scores[place]))
        self.best = self.names[self.place]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def tasks(self) -> list[str]:
        return list(self.scores[self.place])

    def score(self) -> Estimate:
        return best_of(self.scores, self.place) if len(self) > 1 else interval(self.scores[self.place])

    def beyond(self, other: "_Picked", task: str | None = None) -> Estimate:
        """The difference of both best ones, over all tasks that both have or on one."""
        shared = [one for one in self.tasks if one in other.tasks] if task is None else [task]
        ours, theirs = ([{one: scores[one] for one in shared} for scores in side.scores] for side in (self, other))
        if len(self) * len(other) == 1:
            return paired(ours[0], theirs[0])
        return best_difference(ours, self.place, theirs, other.place)


def _partly(own: int, all_tasks: int) -> str:
    """Behind the name of a floor that not all tasks have: BM25 is scored on retrieval tasks alone."""
    return f" ({own} of {all_tasks} tasks)" if own < all_tasks else ""


def _row(row: str, kind: str, variant: tuple, found: Estimate, task: str = "mean", of: int = 1) -> dict:
    return {"row": row, "kind": kind, "task": task, "label": variant_label(variant),
            **dict(zip(VARIANT, variant, strict=True)),
            "score": found.estimate, "low": found.low, "high": found.high, "n": found.n, "p": found.p,
            "detectable": found.detectable, "of": of, "seeds": 1}  # fmt: skip


def reading_notes(headline_table: pd.DataFrame) -> list[str]:
    """What a reader must know about the rows, a sentence a line."""
    shown = headline_table[headline_table["task"] == "mean"]
    lines: list[str] = []
    if shown.empty:
        return lines
    if (shown["of"] > 1).any():
        lines += [
            "A row `best ...` was picked among many (column `of` of summary.parquet), so its score looks a little",
            "too good. Its interval holds for all of these at once (max-T). A floor is the best of its dimensions.",
        ]
    lines.append(
        "Intervals are over other documents of the same tasks, not over other tasks: these are taken as given."
    )
    lines += _of_seeds(headline_table)
    lines += synthetic_notes(headline_table["task"])
    plain = shown[(shown["kind"] == "difference") & (shown["of"] == 1)]
    seen = (plain if len(plain) else shown[shown["kind"] == "difference"])["detectable"].dropna()
    if len(seen):
        lines.append(
            f"A true difference of {100 * seen.median():.1f} points would have been found in 4 of 5 such studies."
        )
    return lines


def _of_seeds(headline_table: pd.DataFrame) -> list[str]:
    """What tuned rows and exports say of other seeds."""
    tuned = headline_table[~headline_table["adapter"].isin(["base", BASELINE])]
    if tuned.empty:
        return []
    most = int(tuned["seeds"].max())
    if most == 1:
        return ["The seeds of training are taken as given too: each adapter was trained once."]
    lines = [f"Tuned rows are means over {most} seeds of training, whose variance is in their intervals."]
    if tuned["row"].str.startswith("export ").any():
        lines.append("An export is the first seed's training alone: its rows are of that one.")
    if tuned["row"].str.startswith("chosen ").any():
        lines.append("What was chosen without labels is the first seed's training, too.")
    return lines


def as_text(
    headline_table: pd.DataFrame,
    run: str,
    measure: str = "V-measure",
    tables: Sequence[pd.DataFrame] = (),
    verdict: Sequence[str] = (),
) -> str:
    """The headline as text for a terminal (scores times 100), ablations over two axes, the verdict without labels, and
    where to look next.
    """
    shown = headline_table[headline_table["task"] == "mean"]
    width = max(map(len, shown["row"]), default=0)
    lines = [f"{measure} x 100, mean over tasks [95 % interval], run {run}", ""]
    if shown.empty:
        lines = [f"Run {run} has no labelled texts, so there are no scores."]
    for row in shown.itertuples():
        sign = "+" if row.kind == "difference" else ""
        value, low, high = (f"{100 * number:{sign}.1f}" for number in (row.score, row.low, row.high))
        bounds = "[not known]" if math.isnan(row.low) else f"[{low}, {high}]"
        lines.append(f"  {row.row:<{width}}  {value:>5} {bounds}  {row.label if sign == '' else ''}".rstrip())
    lines += ["", *reading_notes(headline_table)]
    for table in tables:
        lines += ["", *as_markdown(table)]
    if verdict:
        lines += ["", "Without labels, from held-out pairs:", *verdict]
    base = f"results/{run}"
    lines += ["", f"Look at {base}/report.html first. Every number is a row of {base}/scores.parquet;"]
    lines += [f"figures are in {base}/figures/, exported models in {base}/models/."]
    return "\n".join(lines)
