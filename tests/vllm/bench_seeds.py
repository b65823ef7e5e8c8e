"""Synthesis through vLLM on a CPU: draws by seeded_draws against vLLM's own draws by each request's seed.

    python tests/vllm/bench_seeds.py [--texts 400 --tokens 48 --rounds 3]

Two workers stay open and write the same texts in turn. Prints seconds of the clock, medians, and their ratio.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.generation.inside_vllm import vllm_worker

NANO = str(Path(__file__).parents[2] / "workflow/resources/nano-docs")
OPTIONS = {"python": None, "tensor_parallel": 1, "gpu_memory": 0.3, "max_model_len": 256, "prefix_caching": True,
           "enforce_eager": None, "kv_cache_gib": 1.0}  # fmt: skip
SIDES = {"ours": vllm_worker.__file__, "vLLM's seeds": str(Path(__file__).with_name("write_by_vllms_seeds.py"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    requests = [Request(f"Return the sum of {n} and a sorted list.\n\n", False, n) for n in range(given.texts)]
    for top_p in (0.9, 1.0):
        sampling = {"max_new_tokens": given.tokens, "temperature": 0.8, "top_p": top_p}
        backends, spent = {}, {name: [] for name in SIDES}
        for name, program in SIDES.items():
            vllm_worker.__file__ = program
            backends[name] = open_backend("vllm", WriterSetup(NANO, None, sampling, OPTIONS, needs_chat=False))
            backends[name].write(requests[:16])
        for _ in range(given.rounds):
            for name, backend in backends.items():
                started = time.monotonic()
                backend.write(requests)
                spent[name].append(round(time.monotonic() - started, 2))
        for backend in backends.values():
            backend.close()
        medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
        ratio = medians["vLLM's seeds"] / medians["ours"]
        print(json.dumps({"top_p": top_p, "seconds": spent, "theirs / ours": round(ratio, 2)}), flush=True)


if __name__ == "__main__":
    main()
