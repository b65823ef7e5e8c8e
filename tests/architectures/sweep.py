"""Takes every causal-LM architecture of the installed transformers through the stages; see `make test-architectures`.

Each architecture runs in a process of its own, within a time limit. What came of it is written to
workflow/resources/architectures.json and, as a table, to docs/reference/architectures.md.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 120  # seconds of one architecture
FORK = multiprocessing.get_context("fork")


def embed_any(folder: str) -> tuple:
    """The engine, and a note where only the last layer can be read."""
    from architecture_stages import embed
    from promptpool.errors import PromptpoolError

    try:
        return embed(folder), {}
    except PromptpoolError as refusal:
        if "layers: [-1]" not in str(refusal):
            raise
        return embed(folder, (-1,)), {"note": "its last layer alone"}


def one(kind: str) -> dict:
    """What comes of one architecture: `result`, and the `reason` of what is refused or broken."""
    import torch
    from architecture_stages import costs, packed, tune
    from promptpool.errors import PromptpoolError
    from tiny_architectures import CannotBeTiny, tiny_architecture, tiny_config

    torch.set_num_threads(1)
    stage = "build"
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch, "model"))
        try:
            tiny_architecture(Path(folder), tiny_config(kind))
            stage = "costs"
            costs(folder)
            stage = "embed"
            engine, note = embed_any(folder)
            stage = "tune"
            tuned = tune(folder, Path(scratch, "adapter"))
            stage = "export"
            packed(folder, Path(scratch, "adapter"), Path(scratch))
        except CannotBeTiny as reason:
            return {"result": "not built", "reason": str(reason)}
        except PromptpoolError as refusal:
            return {
                "result": "refused",
                "stage": stage,
                "reason": str(refusal).replace(folder, "MODEL").replace(scratch, ""),
            }
        except BaseException as fault:
            where = traceback.extract_tb(fault.__traceback__)[-1]
            what = " ".join(str(fault).split())[:200]
            return {
                "result": "traceback",
                "stage": stage,
                "reason": f"{type(fault).__name__}: {what} ({Path(where.filename).name}:{where.lineno})",
            }
        names = sorted({name.rpartition(".")[2] for name in tuned})
        return {"result": "one pass" if engine.batches.takes_trees else "separate passes", "tunes": names, **note}


def apart(kind: str) -> dict:
    """`one`, in a process of its own, forked from this one that has imported everything."""
    started = time.time()
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: theirs.send(one(kind)))
    child.start()
    theirs.close()
    try:
        told = ours.recv() if ours.poll(LIMIT) else {"result": "traceback", "reason": f"no end within {LIMIT} s"}
    except EOFError:
        told = {"result": "traceback", "reason": "the process died"}
    child.kill()
    child.join()
    return {**told, "seconds": round(time.time() - started, 1)}


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "workflow")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="some architectures alone, which writes nothing")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    import architecture_stages  # noqa: F401 (the children have it)
    import tiny_architectures  # noqa: F401
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for kind in given.kinds or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        print(kind, json.dumps(apart(kind)), flush=True)
