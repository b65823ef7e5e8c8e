"""What a choice without labels scores on the tasks, and how well each criterion ranks variants as the tasks do.

This is the only stage that sees both, and nothing is chosen by it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ..analysis.choice_rows import ALL, CHOSEN, TO_BEST, TO_PAPER
from ..analysis.propose_checkpoint import LEAST_RANKED
from ..analysis.score_table import checkpoint_name, variant_label
from ..analysis.seeds import first_seed_only
from ..artifacts.files import write_table
from ..errors import PromptpoolError
from ..statistics.best import Scores, best_difference
from ..statistics.estimates import Estimate, interval, mean_of, paired
from ..statistics.samples import VARIANT, read_facts, samples_by_variant
from ..text.normalisation import normalise
from .criteria import CRITERIA

OUTCOME = ["criterion", "proposed", "row", *VARIANT, "label", "other", "value", "candidates", "score", "low", "high",
           "n", "p", "detectable", "of"]  # fmt: skip
AGREEMENT = ["among", "criterion", "spearman", "kendall", "n"]


def judge_choice(
    outcome: str,
    agreement: str,
    *,
    candidates: str,
    pairs: str,
    scores: str,
    facts: Sequence[str],
    texts: Mapping[str, str],
    paper: Sequence | None,
    seeds: Mapping[str, int],
) -> None:
    """Writes two tables: `outcome`, what each criterion's choice scores, alone, minus the best candidate and minus the
    paper's recipe; `agreement`, the rank correlations of each criterion with the tasks' scores.

    candidates: of `propose_readout`; pairs: those that it rests on; scores, facts: as `summarise_scores` reads them;
    texts: task -> its texts.parquet; paper: the variant of the paper's recipe, None if the study has none; seeds:
    adapter -> its first seed, whose training the candidates are. Raises PromptpoolError if a pair holds a task's text.
    """
    started = time.time()
    require_no_task(pd.read_parquet(pairs), texts)
    found = pd.read_parquet(candidates)
    scored = samples_by_variant(first_seed_only(pd.read_parquet(scores), seeds), read_facts(facts))
    inputs = [candidates, pairs, scores, *facts, *texts.values()]
    outcomes = pd.DataFrame(outcome_rows(found, scored, tuple(paper) if paper else None), columns=OUTCOME)
    write_table(outcome, outcomes, inputs=inputs, spec={"paper": paper, "seeds": dict(seeds)}, started=started)
    agreements = pd.DataFrame(agreement_rows(found, scored), columns=AGREEMENT)
    write_table(agreement, agreements, inputs=inputs, spec={"seeds": dict(seeds)}, started=started)


def require_no_task(pairs: pd.DataFrame, texts: Mapping[str, str]) -> None:
    """Raises PromptpoolError if a pair's text is one of a task's: then the choice would have seen what is scored."""
    held = {normalise(text): text for text in pd.unique(pairs[["text", "positive"]].to_numpy().ravel())}
    for task, path in texts.items():
        for text in pd.read_parquet(path, columns=["text"])["text"]:
            if normalise(text) and normalise(text) in held:
                raise PromptpoolError(
                    f"task {task}: the choice read its text {text[:80]!r} in a held-out pair; set contamination.action "
                    "to remove, remove that set's pairs.parquet and run again"
                )


def variant_rows(candidates: pd.DataFrame) -> list[tuple]:
    """A VARIANT for each row."""
    return list(candidates[VARIANT].itertuples(index=False, name=None))


def outcome_rows(candidates: pd.DataFrame, scored: Mapping[tuple, Scores], paper: tuple | None) -> Iterator[dict]:
    """Rows of OUTCOME for each criterion's choice. Without scores only which one it is."""
    known = list(dict.fromkeys(variant for variant in variant_rows(candidates) if variant in scored))
    most = max((len(scored[variant]) for variant in known), default=0)
    known = [variant for variant in known if len(scored[variant]) == most]
    best = max(range(len(known)), key=lambda place: mean_of(scored[known[place]])) if known else None
    picked = candidates[candidates["best"]]
    count = len(candidates) // len(CRITERIA)
    for row, variant in zip(picked.itertuples(), variant_rows(picked), strict=True):
        base = {"criterion": row.criterion, "proposed": row.proposed, **dict(zip(VARIANT, variant, strict=True)),
                "label": variant_label(variant), "value": row.value, "candidates": count}  # fmt: skip
        if variant not in known:
            yield {**base, "row": CHOSEN, "other": ""}
            continue
        own = scored[variant]
        yield {**base, "row": CHOSEN, "other": "", **_numbers(interval(own), 1)}
        family = [scored[one] for one in known]
        found = best_difference([own], 0, family, best) if len(family) > 1 else paired(own, family[0])
        yield {**base, "row": TO_BEST, "other": variant_label(known[best]), **_numbers(found, len(family))}
        if paper in scored and set(scored[paper]) == set(own):
            numbers = _numbers(paired(own, scored[paper]), 1)
            yield {**base, "row": TO_PAPER, "other": variant_label(paper), **numbers}


def _numbers(found: Estimate, of: int) -> dict:
    return {"score": found.estimate, "low": found.low, "high": found.high, "n": found.n, "p": found.p,
            "detectable": found.detectable, "of": of}  # fmt: skip


def agreement_rows(candidates: pd.DataFrame, scored: Mapping[tuple, Scores]) -> Iterator[tuple]:
    """Rows of AGREEMENT: among all candidates, and among those of each checkpoint. NaN below LEAST_RANKED variants, and
    where all of either are equal.
    """
    table = candidates.assign(score=[
        mean_of(scored[variant]) if variant in scored else float("nan") for variant in variant_rows(candidates)
    ]).dropna(subset=["score"])  # fmt: skip
    names = [f"{row.model} {checkpoint_name(row.adapter, row.step)}" for row in table.itertuples()]
    table = table.assign(among=names)
    checkpoints = list(dict.fromkeys(names))
    for among in [ALL, *(checkpoints if len(checkpoints) > 1 else [])]:
        own = table if among == ALL else table[table["among"] == among]
        for criterion in CRITERIA:
            rows = own[own["criterion"] == criterion]
            yield (among, criterion, *rank_correlations(rows["value"], rows["score"]), len(rows))


def rank_correlations(values: pd.Series, scores: pd.Series) -> tuple[float, float]:
    """(Spearman's rho, Kendall's tau-b)."""
    from scipy.stats import kendalltau, spearmanr

    if len(values) < LEAST_RANKED or min(values.nunique(), scores.nunique()) < 2:
        return float("nan"), float("nan")
    both = np.asarray(values, float), np.asarray(scores, float)
    return float(spearmanr(*both).statistic), float(kendalltau(*both).statistic)
