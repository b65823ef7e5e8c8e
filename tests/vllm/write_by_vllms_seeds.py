"""vllm_worker, but vLLM itself draws: the other sides of bench_seeds.py, run where vLLM is.

Each request has its seed, or, with BENCH_SEEDS=none in the environment, none has.
"""

import os
from typing import Any

import vllm_worker


class Engine(vllm_worker.Engine):
    """No processor of ours."""

    def _sampling(self, seed: int) -> dict[str, Any]:
        how = super()._sampling(seed)
        if os.environ.get("BENCH_SEEDS") == "none":
            del how["seed"]
        return how


if __name__ == "__main__":
    vllm_worker.first_runner = lambda: False
    vllm_worker.Engine = Engine
    vllm_worker.main()
