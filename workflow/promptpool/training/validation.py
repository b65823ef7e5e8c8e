"""Holds out pairs by source text, and counts how often a held-out text finds its own positive among all of theirs."""

from collections.abc import Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from sentence_transformers import SentenceTransformer

from ..artifacts.files import text_digest
from ..errors import PromptpoolError
from ..models.precision import exact
from ..templates import DOCUMENT, QUERY
from .tracking import PREFIX

MOST_HELD_OUT = 1000  # held-out pairs that are scored: a checkpoint takes seconds, to about 3 points
LEAST = 2


def hold_out(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(pairs to train on, pairs to validate on); both keep the table's order.

    A source is held out by the digest of its `source_id`, so adding pairs moves none from one side to the other. A pair
    is also left out of training if one of its two texts occurs in a held-out pair. Of the held-out pairs, the first
    MOST_HELD_OUT by digest are returned, without repeating a text or positive.
    Raises PromptpoolError if a share above 0 leaves fewer than LEAST pairs to validate on.
    """
    if not share:
        return table, table.iloc[:0]
    keys = table["source_id"].map(lambda source: text_digest(f"validation:{seed}:{source}"))
    held = table[keys.map(lambda key: int(key[:12], 16) / 16**12) < share]
    texts = set(held["text"]) | set(held["positive"])
    kept = table[~table.index.isin(held.index) & ~table["text"].isin(texts) & ~table["positive"].isin(texts)]
    first = held.loc[keys[held.index].sort_values(kind="stable").index]
    first = first.drop_duplicates("text").drop_duplicates("positive").head(MOST_HELD_OUT)
    if len(first) < LEAST:
        raise PromptpoolError(
            f"validation: {share} of {len(table)} pairs holds out {len(first)}; give a larger share, or 0 for none"
        )
    return kept, first.sort_index()


@torch.no_grad()
def retrieval(model, texts: Sequence[str], positives: Sequence[str], rows: int = 64) -> int:
    """How many texts are nearer (by cosine) to their own positive than to any other of `positives`."""
    training = model.training
    device = model.device.type
    half = next(model.parameters()).dtype == torch.bfloat16
    with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
        anchors, candidates = (
            model.encode(list(side), task=role, batch_size=rows, convert_to_tensor=True, show_progress_bar=False)
            for role, side in ((QUERY, texts), (DOCUMENT, positives))
        )
    model.train(training)
    own = torch.arange(len(anchors), device=anchors.device)
    with exact(anchors.device):
        anchors, candidates = F.normalize(anchors.float(), dim=1), F.normalize(candidates.float(), dim=1)
        return int(((anchors @ candidates.T).argmax(1) == own).sum())


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927). It is valid at 0 and 1, where the normal one has no width."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def best_step(table: pd.DataFrame) -> dict:
    """The checkpoint with the highest accuracy, the earliest among equals. Step 0, the untuned model, is none.

    table: columns step, accuracy, n, low, high. `beats_base` is false if the untuned model is as good.
    """
    steps = table[table["step"] > 0].sort_values("step")
    best = steps.loc[steps["accuracy"].idxmax()]
    base = table.loc[table["step"] == 0, "accuracy"]
    found = {name: best[name].item() for name in ("accuracy", "n", "low", "high")}
    return {"best_step": int(best["step"]), **found, "beats_base": bool((best["accuracy"] > base).all())}


def validator(tuned: SentenceTransformer, held: pd.DataFrame):
    """A function that scores the model on the held-out pairs and returns a row to log."""

    def validate(model: SentenceTransformer) -> dict[str, float]:
        hits, n = retrieval(model, held["text"], held["positive"]), len(held)
        low, high = wilson(hits, n)
        return {f"{PREFIX}{name}": value for name, value in zip(("accuracy", "n", "low", "high"),
                                                               (hits / n, n, low, high), strict=True)}  # fmt: skip

    return validate
