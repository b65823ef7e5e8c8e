"""What the report's attention viewer reads: tokens once, weights by checkpoint."""

from collections.abc import Sequence

import pandas as pd

from .score_table import checkpoint, checkpoint_order

MOST_TEXTS = 16


def viewer(tables: Sequence[pd.DataFrame]) -> dict:
    """The content of the attention viewer, as JSON's types.

    tables: run_attention's. Returns `texts` (what to choose from, the sentence first), `checkpoints` (labels, base
    first), `sequences` (tokens and spans, once for every prompted text) and `rows` (text, checkpoint, sequence,
    weights to 5 decimals). At most MOST_TEXTS texts: the page must stay light.
    """
    table = checkpoint_order(pd.concat(tables, ignore_index=True))
    several = [key for key in ("model", "prompt", "layer") if table[key].nunique() > 1]
    texts = table.sort_values("text_id", kind="stable")["text"].drop_duplicates().tolist()[:MOST_TEXTS]
    checkpoints: list[str] = []
    sequences: dict[tuple, dict] = {}
    rows = []
    shown = table[table["text"].isin(texts)]
    keys = ["model", "prompt", "layer", "adapter", "step", "text_id"]
    for (model, prompt, layer, adapter, step, _), group in shown.groupby(keys, sort=False):
        place = {"model": model, "prompt": f"prompt {prompt}", "layer": f"layer {layer}"}
        label = ", ".join([checkpoint(adapter, step), *(place[key] for key in several)])
        if label not in checkpoints:
            checkpoints.append(label)
        group = group.sort_values("position")
        sequence = (tuple(group["token"]), tuple(group["span"]))
        sequences.setdefault(sequence, {"id": len(sequences), "tokens": list(sequence[0]), "spans": list(sequence[1])})
        rows.append(
            {
                "text": texts.index(group["text"].iloc[0]),
                "checkpoint": checkpoints.index(label),
                "sequence": sequences[sequence]["id"],
                "weights": [round(float(weight), 5) for weight in group["weight"]],
            }
        )
    return {"texts": texts, "checkpoints": checkpoints, "sequences": list(sequences.values()), "rows": rows}
