"""Which texts of a corpus get a positive, and in which style."""

from collections.abc import Mapping

import pandas as pd

from ..artifacts.files import text_digest
from ..errors import PromptpoolError


def pick_anchors(corpus: pd.DataFrame, spec: Mapping, where: str) -> pd.DataFrame:
    """Columns `text` (the anchor), `document`, `given` (its known positive, or None), `style`, `source_id`.

    Rows are drawn by the digest of seed and id, unique by text. So a larger `count` appends rows and changes none. A
    text's style is drawn from `spec["styles"]` in the same way. Only the corpus's `train` rows are anchors.
    """
    rows = corpus[corpus["split"] == "train"]
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
    if table.empty:
        raise PromptpoolError(f"{where}: corpus {spec['corpus']!r} has no text to train on; fix the corpus")
    order = table["source_id"].map(lambda key: text_digest(f"{spec['seed']}:{key}"))
    table = table.iloc[order.argsort(kind="stable")]
    styles = spec["styles"]
    table["style"] = [styles[int(text_digest(f"style:{spec['seed']}:{key}")[:8], 16) % len(styles)]
                      for key in table["source_id"]]  # fmt: skip
    if spec["column"] == "summary":  # a docstring that is only its summary has no other half
        table = table[(table["style"] != "halves") | table["document"].str.contains("\n\n", regex=False)]
    return table.head(spec["count"]).reset_index(drop=True) if spec["count"] else table.reset_index(drop=True)
