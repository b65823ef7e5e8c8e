"""Vectors of an exported model from vLLM's pooling runner: a worker for the interpreter that vLLM is installed under.

    PYTHON pool_with_vllm.py MODEL IDS.json OUT.npy

IDS.json: token ids, a list a text. OUT.npy: float32 [n, dim], in that order. It imports nothing of promptpool, because
vLLM lives in an environment of its own; it takes ids, so that vLLM's tokenizer can't differ.
"""

import json
import sys


def main(model: str, ids: str, out: str) -> None:
    import numpy as np
    from vllm import LLM

    with open(ids, encoding="utf-8") as handle:
        rows = json.load(handle)
    # The longest input, the pooling and the normalisation are read from the export's own files.
    engine = LLM(model=model, runner="pooling", dtype="float32", enforce_eager=True)
    found = engine.embed([{"prompt_token_ids": row} for row in rows], use_tqdm=False)
    np.save(out, np.array([one.outputs.embedding for one in found], dtype=np.float32))


if __name__ == "__main__":  # vLLM starts processes that import this module again
    main(*sys.argv[1:])
