"""The checkpoint that held-out pairs propose, without a look at any task, and how well they rank checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..statistics.best import Scores
from ..statistics.estimates import mean_of
from ..variants import BASE, LAST_LAYER

LEAST_RANKED = 3  # checkpoints, below which an order says nothing


@dataclass(frozen=True)
class Proposal:
    """The proposed variant, and every candidate's accuracy on held-out pairs. Variants are as in `samples.VARIANT`."""

    variant: tuple
    accuracies: Mapping[tuple, float]


def validations(trainings: Sequence[str]) -> list[str]:
    """The trainings' tables of held-out accuracy; a training without held-out pairs has none."""
    return [str(path) for path in (Path(one, "validation.parquet") for one in trainings) if path.exists()]


def propose_checkpoint(trainings: Sequence[str], spec: Mapping) -> Proposal | None:
    """The checkpoint whose held-out texts find their own positive most often; the earliest of equals.

    trainings: directories of one adapter's trainings, one for each seed, with validation.parquet; accuracies are their
    means. spec: `adapter`, `model`, `prompt` and `pooling` of the config, and `layer` if it is not the last. The
    untuned model is a candidate too. None without a training that held out pairs.
    """
    tables = list(map(pd.read_parquet, validations(trainings)))
    if not tables:
        return None
    means = pd.concat(tables).groupby("step")["accuracy"].mean().sort_index()
    readout = spec["prompt"], spec["pooling"], spec.get("layer", LAST_LAYER)
    place = {step: (spec["model"], spec["adapter"] if step else BASE, int(step), *readout) for step in means.index}
    return Proposal(place[means.idxmax()], {place[step]: float(value) for step, value in means.items()})


def rank_agreement(proposal: Proposal, variants: Mapping[tuple, Scores]) -> tuple[float, int]:
    """(Spearman's rank correlation between accuracies and mean scores over tasks, over how many checkpoints). NaN below
    LEAST_RANKED of them, and where all of either are equal.
    """
    scored = [variant for variant in proposal.accuracies if variant in variants]
    table = pd.DataFrame(
        [(proposal.accuracies[variant], mean_of(variants[variant])) for variant in scored],
        columns=["accuracy", "score"],
    ).rank()
    if len(scored) < LEAST_RANKED or table.nunique().min() < 2:
        return float("nan"), len(scored)
    return float(table["accuracy"].corr(table["score"])), len(scored)


def in_a_line(proposal: Proposal, variants: Mapping[tuple, Scores]) -> str:
    """What the summary says of the proposal: which, among how many, and how well pairs rank checkpoints."""
    _, adapter, step, *_ = proposal.variant
    rho, count = rank_agreement(proposal, variants)
    ranked = f"Spearman's rho {rho:.2f}" if rho == rho else "not known: too few, or all equal"
    return (
        f"Held-out pairs alone proposed {f'{adapter}@{step}' if step else adapter} among "
        f"{len(proposal.accuracies)} checkpoints.\nTheir order against the tasks' scores, over {count} checkpoints: "
        f"{ranked}."
    )
