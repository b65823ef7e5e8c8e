"""The guard between training and evaluation: no adapter was trained on a task's text."""

import json
import time
from collections.abc import Mapping, Sequence

import pandas as pd

from ..artifacts.files import file_digest, sidecar_path, write_json, write_sidecar
from ..errors import PromptpoolError
from .select_pairs import find_contamination


def check_training_data(
    adapter: str,
    pairs: Sequence[str],
    tasks: Mapping[str, str],
    out: str,
    *,
    spec: Mapping,
    near: Sequence[float | None],
    negatives: str | None = None,
) -> None:
    """Writes {"pairs": {path: digest}, "task_texts": n}.

    pairs: what the adapter is trained on now, and its hard negatives if it has any; tasks: name -> texts.parquet; near:
    of each set, as in the config; of the negatives, the strictest.
    The tasks' texts are removed when pairs are selected. A task may be added later, and that does not restart training.
    Raises PromptpoolError if it should, and if the adapter has other pairs or settings than the study.
    """
    started = time.time()
    record = json.loads(sidecar_path(adapter).read_text(encoding="utf-8"))
    read = [*pairs, *filter(None, [negatives])]
    now = {path: file_digest(path) for path in read}
    # While Snakemake rebuilds an `ancient` input, it does not check what is behind it (the pairs, behind the tasks). A
    # new task and a changed recipe in one edit would leave the adapter unchanged.
    if record["spec"] != json.loads(json.dumps(spec)) or any(record["inputs"].get(path) != now[path] for path in read):
        raise PromptpoolError(f"{adapter}: trained with other settings or pairs than now; run the same command again")
    for path, share in zip(pairs, near, strict=True):
        table = pd.read_parquet(path).assign(reason=None)
        hits = find_contamination(table, tasks, share)
        if hits:
            place, (task, _) = next(iter(hits.items()))
            raise PromptpoolError(
                f"{path}: {len(hits)} pairs hold a text of task {task}, which was added later, the first "
                f"{table.at[place, 'text'][:80]!r}; remove that file to select the pairs and train the adapters again"
            )
    if negatives:
        table = pd.read_parquet(negatives, columns=["negative"]).drop_duplicates(ignore_index=True).assign(reason=None)
        share = min((one for one in near if one is not None), default=None)
        hits = find_contamination(table, tasks, share, columns=["negative"])
        if hits:
            place, (task, _) = next(iter(hits.items()))
            raise PromptpoolError(
                f"{negatives}: {len(hits)} negatives hold a text of task {task}, which was added later, the first "
                f"{table.at[place, 'negative'][:80]!r}; remove that file to choose them and train the adapter again"
            )
    known = sum(len(pd.read_parquet(path, columns=["text"])) for path in tasks.values())
    write_json(out, {"pairs": now, "task_texts": known})
    write_sidecar(out, inputs=[*read, *tasks.values()], started=started)
