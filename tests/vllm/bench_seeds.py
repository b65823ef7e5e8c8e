"""Synthesis through vLLM on a CPU: draws by seeded_draws, by vLLM's own seeds, and without seeds.

    python tests/vllm/bench_seeds.py [--texts 256 --tokens 48 --rounds 3]

Three workers stay open and write the same texts in turn. Prints tokens a second of each round, by the clock and by the
worker's CPU time, which other programs disturb less; the medians; and their ratios to vLLM's seeds. A token counts up
to a text's own end. Opening is left out.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from promptpool.generation.backend import Request, WriterSetup, open_backend
from promptpool.generation.inside_vllm import vllm_worker
from promptpool.generation.vllm_backend import VllmBackend

NANO = str(Path(__file__).parents[2] / "workflow/resources/nano-docs")
OPTIONS = {"python": None, "tensor_parallel": 1, "gpu_memory": 0.3, "max_model_len": 256, "prefix_caching": True,
           "enforce_eager": None, "kv_cache_gib": 1.0}  # fmt: skip
OTHER = str(Path(__file__).with_name("write_by_vllms_seeds.py"))
THEIRS = "vLLM's seeds"
SIDES = {"no seeds": (OTHER, "none"), THEIRS: (OTHER, "own"), "ours": (vllm_worker.__file__, "")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    requests = [Request(f"Return the sum of {n} and a sorted list.\n\n", False, n) for n in range(given.texts)]
    for top_p in (0.9, 1.0):
        sampling = {"max_new_tokens": given.tokens, "temperature": 0.8, "top_p": top_p}
        backends = {}
        for name, (program, seeds) in SIDES.items():
            vllm_worker.__file__, os.environ["BENCH_SEEDS"] = program, seeds
            backends[name] = open_backend("vllm", WriterSetup(NANO, None, sampling, OPTIONS, needs_chat=False))
            backends[name].write(requests[:16])  # the first batch of all is slower
        rates = {how: {name: [] for name in SIDES} for how in ("clock", "cpu")}
        for _ in range(given.rounds):
            for name, backend in backends.items():
                began = seconds(backend)
                tokens = sum(answer.tokens for answer in backend.write(requests))
                for how, now, then in zip(rates, seconds(backend), began, strict=True):
                    rates[how][name].append(round(tokens / (now - then), 1))
        for backend in backends.values():
            backend.close()
        print(json.dumps({"top_p": top_p, "load": round(os.getloadavg()[0], 1)}))
        for how, found in rates.items():
            medians = {name: statistics.median(each) for name, each in found.items()}
            ratios = {name: round(rate / medians[THEIRS], 2) for name, rate in medians.items()}
            print(json.dumps({"by": how, "rates": found, "medians": medians, "ratios": ratios}), flush=True)


def seconds(backend: VllmBackend) -> tuple[float, float]:
    """(the clock, CPU seconds of the backend's worker so far). The engine shares its process."""
    fields = Path(f"/proc/{backend._worker.pid}/stat").read_text().rpartition(")")[2].split()
    return time.monotonic(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
