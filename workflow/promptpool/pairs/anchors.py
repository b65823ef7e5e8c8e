"""Which texts of a corpus get a positive, and in which style."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..artifacts.files import text_digest
from ..errors import PromptpoolError
from ..variants import TASK, TRAIN


def pick_anchors(corpus: pd.DataFrame, spec: Mapping, where: str) -> pd.DataFrame:
    """Columns `text` (the anchor), `document`, `given` (its known positive, or None), `style`, `source_id`, `repeat`.

    Rows are drawn by the digest of seed and id, unique by text. So a larger `count` appends rows and changes none. A
    text's style is drawn from `spec["styles"]` in the same way. Only the corpus's `train` rows are anchors, or those of
    `spec["split"]`. With `per_text` above 1, a text has so many rows, one after the other, each of the style that comes
    next; `repeat` counts its earlier rows of the same style.
    """
    split = spec.get("split", TRAIN)
    rows = corpus[corpus["split"] == split]
    if spec["column"] not in rows:
        raise PromptpoolError(f"{where}: the corpus has no column {spec['column']!r}; it has {', '.join(rows.columns)}")
    given = rows.get("positive")
    if "dataset" in spec["styles"] and given is None:
        raise PromptpoolError(
            f"{where}.styles: dataset takes the positives that a corpus brings, and corpus {spec['corpus']!r} brings "
            f"none; name their column in corpora.{spec['corpus']}.positive"
        )
    table = pd.DataFrame(
        {"text": rows[spec["column"]], "document": rows["text"], "given": given, "source_id": rows["id"]}
    )
    once = ["text", "given"] if "dataset" in spec["styles"] else ["text"]  # a text may have several positives
    table = table[table["text"].str.strip() != ""].drop_duplicates(once)
    if table.empty and split == TASK:
        raise PromptpoolError(
            f"{where}: corpus {spec['corpus']!r} has no text that is set aside for tasks; raise its task_share"
        )
    if table.empty:
        raise PromptpoolError(f"{where}: corpus {spec['corpus']!r} has no text to train on; fix the corpus")
    order = table["source_id"].map(lambda key: text_digest(f"{spec['seed']}:{key}"))
    table = table.iloc[order.argsort(kind="stable")]
    styles = spec["styles"]
    table["style"] = [styles[int(text_digest(f"style:{spec['seed']}:{key}")[:8], 16) % len(styles)]
                      for key in table["source_id"]]  # fmt: skip
    if spec["column"] == "summary":  # a docstring that is only its summary has no other half
        table = table[(table["style"] != "halves") | table["document"].str.contains("\n\n", regex=False)]
    table = table.head(spec["count"]) if spec["count"] else table
    return several(table, styles, spec.get("per_text", 1))


def several(table: pd.DataFrame, styles: Sequence[str], per_text: int) -> pd.DataFrame:
    """Each row `per_text` times, of the style that it has, then of those after it in `styles`, round and round."""
    rows = table.loc[table.index.repeat(per_text)].reset_index(drop=True).assign(repeat=0)
    turns = rows.index.to_numpy() % per_text
    if per_text > 1:
        first = rows["style"].map(list(styles).index).to_numpy()
        rows["style"] = [styles[place % len(styles)] for place in first + turns]
        rows["repeat"] = turns // len(styles)
    return rows
