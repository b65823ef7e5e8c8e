"""The content of the page's map of texts: each text once, with its place before and after tuning."""

import pandas as pd

from ..analysis.score_table import checkpoint_name, checkpoint_order
from ..figures.map_labels import OTHERS, agreement, label_looks

LABEL_CHARACTERS = 240  # the most characters of a text that are shown


def map_content(table: pd.DataFrame) -> dict:
    """The map in JSON types. table: map_texts's.

    Returns `panels` (title, share: neighbours with the same label and half its interval, in per cent), `labels` (name,
    colour, count; first those of the figure, in its order, then the others in grey) and `points` (text, label: its
    index, at: [x, y] of each panel).
    """
    looks = label_looks(table)
    counts = table.drop_duplicates("text")["label"].value_counts()
    names = [*looks, *sorted(set(counts.index) - set(looks))]
    panels, places = [], []
    texts = table.drop_duplicates("text")[["text", "label"]].reset_index(drop=True)
    for (adapter, step), part in checkpoint_order(table).groupby(["adapter", "step"], sort=False):
        mean, margin = agreement(part)
        title = "untuned" if adapter == "base" else checkpoint_name(adapter, step)
        panels.append({"title": title, "share": f"{mean:.0f} ± {margin:.0f}"})
        places.append(part.set_index("text").loc[texts["text"], ["x", "y"]].round(3).to_numpy().tolist())
    return {
        "panels": panels,
        "labels": [
            {"name": name, "colour": looks[name][0] if name in looks else OTHERS, "count": int(counts[name])}
            for name in names
        ],
        "points": [
            {"text": _cut(text), "label": names.index(label), "at": [panel[row] for panel in places]}
            for row, (text, label) in enumerate(texts.itertuples(index=False))
        ],
    }


def _cut(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1] + "…"
