"""CPU seconds that vLLM's pooling runner takes for lists of token ids: a worker for vLLM's own interpreter.

    PYTHON pool_rounds.py MODEL IDS.json OUT.npy

IDS.json: token ids, a list a text. Each line on stdin is a round; its CPU seconds are printed. Prefixes are cached,
which is vLLM's default for last-token pooling, and every round starts with an empty cache. OUT.npy: the last vectors.
"""

import json
import os
import sys
import time


def main(model: str, ids: str, out: str) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # one process, so that its CPU seconds are all
    import numpy as np
    from vllm import LLM
    from vllm.config import PoolerConfig

    with open(ids, encoding="utf-8") as handle:
        prompts = [{"prompt_token_ids": row} for row in json.load(handle)]
    pooler = PoolerConfig(pooling_type="LAST", use_activation=False)
    engine = LLM(model=model, runner="pooling", convert="embed", dtype="float32", enforce_eager=True,
                 enable_prefix_caching=True, max_model_len=512, pooler_config=pooler)  # fmt: skip
    engine.embed(prompts[:2], use_tqdm=False)
    print("ready", flush=True)
    for _ in sys.stdin:
        engine.reset_prefix_cache()
        began = time.process_time()
        found = engine.embed(prompts, use_tqdm=False)
        print(json.dumps(time.process_time() - began), flush=True)
        np.save(out, np.array([one.outputs.embedding for one in found], dtype=np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
