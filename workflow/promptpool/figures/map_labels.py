"""The labels of the map of texts: their looks, and how often neighbours share one. For the figure and the report."""

import numpy as np
import pandas as pd

from .palette import SERIES

# Okabe & Ito's colours, and two dark ones of Tol's. Each has its own shape, so that nothing depends on colour alone.
LABEL_COLOURS = (*SERIES, "#882255", "#332288")
LABEL_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
OTHERS = "#c4c4c4"


def label_looks(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """label -> (colour, marker) of the labels with the most texts, for both the figure and the page."""
    counts = table.drop_duplicates("text")["label"].value_counts()
    ordered = sorted(counts.index, key=lambda label: (-counts[label], label))[: len(LABEL_COLOURS)]
    return {label: (LABEL_COLOURS[i], LABEL_MARKERS[i]) for i, label in enumerate(ordered)}


def agreement(panel: pd.DataFrame) -> tuple[float, float]:
    """(mean, half of the 95 % interval over texts) of the share of neighbours with a text's label, in per cent."""
    share = panel["same"].to_numpy(dtype=float) * 100
    error = share.std(ddof=1) / np.sqrt(len(share)) if len(share) > 1 else float("nan")
    return float(share.mean()), float(1.96 * error)
