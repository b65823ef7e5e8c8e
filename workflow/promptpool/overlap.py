"""The guard between training and evaluation: what an adapter learned from is what the pairs hold now."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .artifacts import file_digest, sidecar_path, write_json, write_sidecar
from .errors import PromptpoolError


def check_training_data(adapter: str, pairs: Sequence[str], out: str, spec: Mapping) -> None:
    """Writes {"pairs": {path: digest}}. Raises PromptpoolError if the adapter was trained on other pairs, or otherwise.

    Training does not start again when a task is added, since that seldom changes the pairs. Where it does (they held
    a text of the new task), the adapter has seen what it would be scored on.
    """
    started = time.time()
    told = json.loads(sidecar_path(adapter).read_text(encoding="utf-8"))
    learned = told["inputs"]
    # Snakemake does not look at what stands behind an `ancient` input (training, behind the pairs) while that is
    # renewed: a new task and a changed recipe in one edit would leave the adapter as it was.
    if told["spec"] != json.loads(json.dumps(spec)):
        raise PromptpoolError(
            f"{adapter}: trained with other settings than the config's now; run the same command again"
        )
    now = {path: file_digest(path) for path in pairs}
    for path, digest in now.items():
        if learned.get(path) != digest:
            raise PromptpoolError(
                f"{adapter}: trained on other pairs than {path} now holds{_contaminated(path)}; "
                f"remove {adapter} to train it anew"
            )
    write_json(out, {"pairs": now})
    write_sidecar(out, inputs=pairs, started=started)


def _contaminated(pairs: str) -> str:
    """How many pairs are left out since as tasks' texts, in words; nothing for none."""
    rejected = Path(pairs).with_name("rejected.parquet")
    count = int((pd.read_parquet(rejected)["reason"] == "contaminated").sum()) if rejected.is_file() else 0
    return f" ({count} of the set are a task's texts and left out)" if count else ""
