"""The report's section on attention: what tuning changed, and the content of the viewer of single texts."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..analysis.score_table import checkpoint_name, checkpoint_order
from ..attention.spans import MEAN
from ..attention.table import read_shown_texts
from ..statistics.estimates import LEVEL

VIEWER_WEIGHTS = 250_000  # the most weights in the viewer, 1.3 MB, so that the page stays small
LAYER_ROWS = 400  # the most rows in the table of single layers
SPANS_SHOWN = ("content", "function", "prompt", "sink", "itself")  # the table's columns


def attention_section(table: str | Path, summary: str | Path) -> dict:
    """What the page shows of attention.parquet and attention_summary.parquet: `viewer`, `moves`, `layers`."""
    found = pd.read_parquet(summary)
    return {"viewer": viewer(read_shown_texts(table)), "moves": moves(found), "layers": single_layers(found)}


def moves(summary: pd.DataFrame) -> list[dict]:
    """What each adapter's last step changed, averaged over layers; one row for each adapter and prompt.

    summary: summarise_attention's table. A row has model, adapter, step, prompt and n (texts); base and share (of
    content words); a change for each of SPANS_SHOWN (estimate, low, high; None if the prompt lacks the span); `layers`
    (how many were measured); the number of layers in which content words gained (`up`) or lost (`down`) by Holm's test;
    and `most`, the layer where they changed most.
    """
    return [
        {**changes(own[own["layer"] == own["layer"].min()]), **_over_layers(own)} for own in _states(summary, last=True)
    ]


def _over_layers(own: pd.DataFrame) -> dict:
    content = own[own["span"] == "content"]
    content = content[content["layer"] != MEAN]
    if content.empty:
        return {"layers": 0, "up": 0, "down": 0, "most": None}
    differs = content["p_holm"] < 1 - LEVEL
    most = content.loc[content["estimate"].abs().idxmax()]
    return {
        "layers": len(content),
        "up": int((differs & (content["estimate"] > 0)).sum()),
        "down": int((differs & (content["estimate"] < 0)).sum()),
        "most": {key: most[key] for key in ("layer", "estimate", "low", "high")},
    }


def single_layers(summary: pd.DataFrame) -> list[dict]:
    """Every checkpoint, prompt and layer with its changes, at most LAYER_ROWS; last steps first if rows are cut."""
    states = [*_states(summary, last=True), *_states(summary, last=False)]
    every = [group for own in states for layer, group in own.groupby("layer") if layer != MEAN]
    return [{**changes(group), "layer": int(group["layer"].iloc[0])} for group in every[:LAYER_ROWS]]


def changes(rows: pd.DataFrame) -> dict:
    """One checkpoint, prompt and layer: its names, and span -> change."""
    first, by_span = rows.iloc[0], rows.set_index("span")
    kept = ["estimate", "low", "high", "p_holm"]
    known = {span: by_span.loc[span, kept].to_dict() if span in by_span.index else None for span in SPANS_SHOWN}
    share = by_span["share"].get("content")
    start = {"checkpoint": checkpoint_name(first["adapter"], first["step"]), "n": int(first["n"])}
    if share is not None:
        start |= {"base": share - by_span.loc["content", "estimate"], "share": share}
    return {**start, "model": first["model"], "prompt": first["prompt"], "changes": known}


def _states(summary: pd.DataFrame, last: bool) -> Iterator[pd.DataFrame]:
    """The head means of each tuned checkpoint and prompt: either adapters' last steps, or all others."""
    tuned = summary[(summary["head"] == MEAN) & (summary["adapter"] != "base")]
    ends = tuned.groupby(["model", "adapter"])["step"].transform("max") == tuned["step"]
    for _, own in checkpoint_order(tuned[ends == last]).groupby(["model", "adapter", "step", "prompt"], sort=False):
        yield own


def viewer(shown: pd.DataFrame) -> dict:
    """The content of the attention viewer, in JSON types.

    shown: attention.table.read_shown's table. Returns `texts`, `prompts`, `layers` and `checkpoints` to choose from
    (the sentence, the config's first prompt, the last layer and base come first); `sequences` (tokens and spans, once
    for every prompted text); and `rows` (the indices of these five, and weights in hundredths of a per cent). If all
    would exceed VIEWER_WEIGHTS numbers, texts and then layers are left out.
    """
    shown = checkpoint_order(_thinned(shown))
    several = shown["model"].nunique() > 1
    texts = shown.sort_values("text_id", kind="stable")["text"].drop_duplicates().tolist()
    prompts = shown["prompt"].drop_duplicates().tolist()
    layers = sorted(shown["layer"].unique().tolist(), reverse=True)
    checkpoints: list[str] = []
    sequences: dict[tuple, int] = {}
    rows = []
    for row in shown.itertuples():
        label = checkpoint_name(row.adapter, row.step) + (f", {row.model}" if several else "")
        if label not in checkpoints:
            checkpoints.append(label)
        sequence = (tuple(row.tokens), tuple(row.spans))
        rows.append(
            {
                "text": texts.index(row.text),
                "prompt": prompts.index(row.prompt),
                "layer": layers.index(row.layer),
                "checkpoint": checkpoints.index(label),
                "sequence": sequences.setdefault(sequence, len(sequences)),
                "weights": [round(float(weight) * 10_000) for weight in row.weights],
            }
        )
    return {
        "texts": texts,
        "prompts": prompts,
        "layers": layers,
        "checkpoints": checkpoints,
        "sequences": [{"tokens": list(tokens), "spans": list(spans)} for tokens, spans in sequences],
        "rows": rows,
    }


def _thinned(shown: pd.DataFrame) -> pd.DataFrame:
    """The rows of as many texts as the page can hold; if not even one fits, of fewer layers, the last included."""
    sizes = shown["weights"].str.len().groupby(shown["text_id"]).sum().sort_index().cumsum()
    kept = max(1, int((sizes <= VIEWER_WEIGHTS).sum()))
    shown = shown[shown["text_id"].isin(sizes.index[:kept])]
    layers = sorted(shown["layer"].unique(), reverse=True)
    stride = -(-int(shown["weights"].str.len().sum()) // VIEWER_WEIGHTS)
    return shown[shown["layer"].isin(layers[::stride])] if len(shown) else shown
