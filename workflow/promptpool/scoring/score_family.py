"""The scores of one embeddings file: every prompt, pooling and layer."""

import time

from ..artifacts.files import write_table
from ..embedding.vector_file import read_vectors
from ..variants import split_adapter_id
from .scorer import ScoredTask, Scorer, Variants, require_same_texts, write_lines


def score_family(out: str, results: str, task: ScoredTask, *, vectors: str, model: str, adapter: str) -> None:
    """Scores every prompt, pooling and layer of one embeddings file. adapter: `base` or `name@step`."""
    started = time.time()
    name, step = split_adapter_id(adapter)
    require_same_texts(vectors, task.texts)
    found = read_vectors(vectors)  # read one by one, because a large task's matrices may not fit into memory together

    def variants() -> Variants:
        for key, matrix in found.items():
            columns = dict(zip(("prompt", "pooling", "layer"), key, strict=True))
            yield {"model": model, "adapter": name, "step": step, **columns}, adapter, matrix

    table, lines = Scorer(task).score(variants(), len(found))
    write_lines(results, lines)
    write_table(out, table, inputs=[task.labelled, task.texts, vectors], spec=task.spec, started=started)
