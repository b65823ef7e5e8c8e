"""The pairs that a choice rests on: those that none of the candidates was trained on."""

import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..artifacts.files import text_digest, write_table
from ..errors import PromptpoolError
from ..scoring.pair_retrieval import distinct_pairs

PAIR_COLUMNS = ["text", "positive", "style", "source_id"]


def hold_out_pairs(out: str, texts: str, sets: Mapping[str, str], trainings: Mapping[str, Mapping]) -> None:
    """Writes the pairs to `out` (text, positive, style, source_id) and their texts, each once, to `texts` (text).

    sets: name -> pairs.parquet; trainings: adapter -> `pairs` (names of sets), `validation` and `seed`, as it is
    trained. A pair is left out if a training saw its source or one of its two texts, and if its texts can't be looked
    for (`distinct_pairs`). At most `validation.MOST_HELD_OUT` are kept, by digest. Without trainings all pairs count.
    Raises PromptpoolError if fewer than FEWEST_PAIRS are left.
    """
    from ..scoring.verdict import FEWEST_PAIRS
    from ..training.validation import MOST_HELD_OUT, hold_out

    started = time.time()
    tables = {name: pd.read_parquet(path) for name, path in sets.items()}
    table = pd.concat(tables.values(), ignore_index=True)
    sources: set[str] = set()
    seen: set[str] = set()
    for spec in trainings.values():
        own = pd.concat([tables[name] for name in spec["pairs"]], ignore_index=True)
        kept, _ = hold_out(own, spec["validation"], spec["seed"])
        sources |= set(kept["source_id"])
        seen |= set(kept["text"]) | set(kept["positive"])
    unseen = table[~table["source_id"].isin(sources) & ~table["text"].isin(seen) & ~table["positive"].isin(seen)]
    order = (unseen["source_id"].astype(str) + " " + unseen["text"]).map(text_digest)
    held = distinct_pairs(unseen.loc[order.sort_values(kind="stable").index])[PAIR_COLUMNS].head(MOST_HELD_OUT)
    if len(held) < FEWEST_PAIRS:
        raise PromptpoolError(
            f"choice: {len(held)} pairs of {', '.join(sets)} are held out of every candidate "
            f"({', '.join(trainings) or 'none is trained'}), and at least {FEWEST_PAIRS} are needed; make more pairs, "
            "or raise validation of these adapters"
        )
    read, spec = list(sets.values()), {"trainings": dict(trainings)}
    write_table(out, held, inputs=read, spec=spec, started=started, unseen=len(unseen))
    both = pd.DataFrame({"text": pd.unique(held[["text", "positive"]].to_numpy().ravel())})
    write_table(texts, both, inputs=read, spec=spec, started=started, pairs=Path(out).name)
