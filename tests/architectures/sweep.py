"""Takes every causal-LM architecture of the installed transformers through the stages: `make test-architectures`.

So, too, those that also see images. Each runs in a process of its own, within a time limit, on a tiny model of its own
config. What came of it is written to workflow/promptpool/study/architectures.json, and tables of it to
docs/reference/architectures.md. The exit status is 1 where one ends in a traceback.
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
RESOURCE = ROOT / "workflow/promptpool/study/architectures.json"
LIMIT = 180  # seconds of one architecture
FORK = multiprocessing.get_context("fork")


def one(kind: str) -> dict:
    """What comes of one architecture: `result`, and the `reason` of what is refused or broken.

    `by: config` where its config alone is refused, as a study does before it starts.
    """
    import torch
    from promptpool.errors import PromptpoolError
    from tiny_architectures import CannotBeTiny

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, reached = str(Path(scratch, "model")), ["build"]

        def plain(error: BaseException) -> str:
            return " ".join(str(error).replace(folder, "MODEL").replace(f"{scratch}/", "").split())

        try:
            return through(kind, folder, Path(scratch), reached)
        except CannotBeTiny as reason:
            return refused_by_config(kind) or {"result": "not built", "reason": plain(reason)}
        except PromptpoolError as refusal:
            known = refused_by_config(kind) or {"by": reached[-1]}
            return {"result": "refused", "reason": plain(refusal), **known}
        except BaseException as fault:
            where = traceback.extract_tb(fault.__traceback__)[-1]
            reason = f"{type(fault).__name__}: {plain(fault)[:200]} ({Path(where.filename).name}:{where.lineno})"
            return {"result": "traceback", "by": reached[-1], "reason": reason}


def through(kind: str, folder: str, scratch: Path, reached: list[str]) -> dict:
    """Every stage, its name appended to `reached` before it starts."""
    from architecture_stages import both_ways, costs, embed, packed, tune
    from promptpool.errors import PromptpoolError
    from tiny_architectures import tiny_architecture, tiny_config

    tiny_architecture(Path(folder), tiny_config(kind))
    notes = []
    reached.append("embed")
    costs(folder)
    try:
        engine = embed(folder)
    except PromptpoolError as refusal:
        if "layers: [-1]" not in str(refusal):
            raise
        notes.append("`layers: [-1]` alone")
        engine = embed(folder, (-1,))
    reached.append("tune")
    tuned = tune(folder, scratch / "adapter")
    reached.append("export")
    try:
        packed(folder, scratch / "adapter", scratch)
    except PromptpoolError:
        notes.append("no export")
    reached.append("both ways")
    if both_ways(folder):
        notes.append("both ways")
    return {
        "result": "one pass" if engine.batches.takes_trees else "separate passes",
        "tunes": sorted({name.rpartition(".")[2] for name in tuned}),
        "notes": notes,
    }


def refused_by_config(kind: str) -> dict:
    """The refusal of an architecture's own default config, if it is one."""
    from promptpool.errors import PromptpoolError
    from promptpool.models.decoder import require_decoder
    from transformers import AutoConfig

    try:
        require_decoder(AutoConfig.for_model(kind), "MODEL")
    except PromptpoolError as refusal:
        return {"result": "refused", "by": "config", "reason": str(refusal)}
    except Exception:  # a config that cannot be made
        return {}
    return {}


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
    print(f"{kind}: {json.dumps(told)} {time.time() - started:.1f} s", flush=True)
    return told


def main() -> int:
    from transformers import __version__
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    causal = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    seeing = sorted(set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) - set(causal))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="some architectures alone, which writes nothing")
    chosen = parser.parse_args().kinds
    if chosen:
        return any(apart(kind)["result"] == "traceback" for kind in chosen)
    import architecture_page

    found = {
        "transformers": __version__,
        "text": {k: apart(k) for k in causal},
        "seeing": {k: apart(k) for k in seeing},
    }
    RESOURCE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    architecture_page.write(found)
    return any(one["result"] == "traceback" for part in ("text", "seeing") for one in found[part].values())


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tests/architectures", "workflow")]
    warnings.simplefilter("ignore")
    import architecture_stages  # noqa: F401 (so that the children have it)

    raise SystemExit(main())
