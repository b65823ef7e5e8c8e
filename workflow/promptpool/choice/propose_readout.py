"""The choice: which readout of which checkpoint held-out pairs propose. It reads no task's text, label or score."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import write_table
from ..artifacts.parts import listed_files
from ..embedding.aggregation import Aggregation
from ..embedding.lexical import WithLexical, read_lexical
from ..embedding.post_processing import Statistics, read_statistics
from ..embedding.vector_file import Vectors, read_vectors
from ..scoring.pair_retrieval import own_copies
from ..statistics.samples import VARIANT
from ..variants import CHOICE, split_adapter_id
from .criteria import CRITERIA, criteria_of

CANDIDATES = [*VARIANT, "criterion", "value", "low", "high", "n", "best", "proposed"]


def propose_readout(
    out: str,
    *,
    pairs: str,
    texts: str,
    states: Sequence[tuple[str, str]],
    vectors: Sequence[str],
    statistics: Sequence[str],
    readouts: Sequence[Mapping],
    criterion: str,
    lexical: Mapping[str, str],
) -> None:
    """Writes a row for each candidate and criterion: VARIANT, criterion, value, low, high, n (pairs), best, proposed.

    pairs, texts: of `hold_out_pairs`; states: (model, adapter id) of each candidate checkpoint; vectors: the manifest
    that lists its vectors of these texts; statistics: its manifest of statistics, empty without readouts; readouts:
    mappings as `Aggregation.of` reads them, beside each pooling and layer that is stored; lexical: name -> file of
    their lexical parts. `best` marks the candidate
    with the highest value of a criterion, the first of equals, and `proposed` that of `criterion`.
    """
    started = time.time()
    table = pd.read_parquet(pairs)
    listed = pd.read_parquet(texts)["text"].tolist()
    places = {text: place for place, text in enumerate(listed)}
    parts = {name: read_lexical(path) for name, path in lexical.items()}
    counted = {name: (part.vectors(listed), part.statistics) for name, part in parts.items()}
    sides = [table[name].map(places).to_numpy() for name in ("text", "positive")]
    copies = own_copies(table)
    rows = []
    for place, (model, adapter) in enumerate(states):
        known = [statistics[place]] if statistics else []
        for variant, matrix in candidates(vectors[place], known, readouts, model, adapter, counted):
            found = criteria_of(matrix[sides[0]], matrix[sides[1]], copies)
            rows += [
                (*variant, name, one.estimate, one.low, one.high, len(table)) for name, one in found.items()
            ]  # fmt: skip
    result = marked(pd.DataFrame(rows, columns=CANDIDATES[:-2]), criterion)
    inputs = [pairs, texts, *vectors, *statistics, *lexical.values()]
    spec = {"criterion": criterion, "states": [list(state) for state in states], "readouts": list(readouts)}
    write_table(out, result, inputs=inputs, spec=spec, started=started)


def candidates(
    vectors: str,
    statistics: Sequence[str],
    readouts: Sequence[Mapping],
    model: str,
    adapter: str,
    counted: Mapping[str, tuple[np.ndarray, Statistics]],
) -> Iterator[tuple[tuple, np.ndarray]]:
    """(variant as in VARIANT, its matrix [texts, dim]) of one checkpoint, in the order of prompts: first the poolings
    as they come, then the readouts. counted: name -> (vectors of the texts, statistics) of each lexical part.
    """
    fitted = {Path(file).stem: file for file in listed_files(statistics, ".safetensors")}
    name, step = split_adapter_id(adapter)
    for file in listed_files([vectors], ".safetensors", [CHOICE]):
        stored: Vectors = read_vectors(file)
        for prompt, pooling, layer in stored:
            yield (model, name, step, prompt, pooling, layer), stored[prompt, pooling, layer]
        if not readouts:
            continue
        beside = WithLexical(stored, {name: matrix for name, (matrix, _) in counted.items()})
        known = read_statistics(fitted[Path(file).stem])
        known = WithLexical(known, {name: statistics for name, (_, statistics) in counted.items()})
        for prompt in sorted({prompt for prompt, _, _ in stored}):
            for readout in map(Aggregation.of, readouts):
                variant = (model, name, step, prompt, readout.name, readout.layer)
                yield variant, readout.read(prompt, beside, known)


def marked(rows: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """The table with `best` and `proposed`."""
    best = {name: rows.loc[rows["criterion"] == name, "value"].idxmax() for name in CRITERIA}
    at = rows.index.to_series()
    return rows.assign(best=at.isin(best.values()), proposed=at == best[criterion])
