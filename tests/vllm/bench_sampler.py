"""Milliseconds of vLLM's V1 sampler for one step of many rows: with our processor, with seeds, and without.

    PYTHONPATH=workflow/promptpool/generation/inside_vllm .vllm/bin/python tests/vllm/bench_sampler.py
        [--rows 256 --vocabulary 151936 --steps 3 --device cpu]

It measures the draw alone, without a model, so that the vocabulary can be a large model's. Scores fall by rank as a
power, steeper in some rows than in others, so that most nuclei are small and some have thousands of tokens. The three
take turns; medians are compared. Runs with vLLM's CPU build, or with its GPU build and `--device cuda`.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import replace

import torch
import vllm_worker
from draw_with_vllm import metadata
from vllm import SamplingParams
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.platforms import current_platform
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessors
from vllm.v1.sample.sampler import Sampler

TEMPERATURE = 0.7


def made_up(rows: int, vocabulary: int) -> torch.Tensor:
    """Scores whose probabilities fall with rank to the power of -0.8 to -1.6, before temperature."""
    draw = torch.Generator().manual_seed(0)
    by_rank = -torch.linspace(0.8, 1.6, rows)[:, None] * torch.arange(1, vocabulary + 1).log()
    return by_rank.gather(-1, torch.rand(rows, vocabulary, generator=draw).argsort(-1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    current_platform.import_kernels()
    device = torch.device(given.device)
    scores = made_up(given.rows, given.vocabulary).to(device)
    for top_p in (0.9, 1.0):
        with set_current_vllm_config(VllmConfig()):
            sampler = Sampler()
        sides = dict(zip(("no seeds", "vLLM's seeds", "ours"), sides_of(given.rows, top_p, device), strict=True))
        spent: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(given.steps + 1):
            for name, how in sides.items():
                copied = scores.clone()
                wait(device)
                started = time.perf_counter()
                sampler(copied, how)
                wait(device)
                if number:  # the first is slower
                    spent[name].append(round(1000 * (time.perf_counter() - started), 1))
        medians = {name: statistics.median(found) for name, found in spent.items()}
        facts = {"rows": given.rows, "vocabulary": given.vocabulary, "threads": torch.get_num_threads()}
        load = round(os.getloadavg()[0], 1)
        print(json.dumps({"top_p": top_p, **facts, "load": load, "ms": spent, "median": medians}), flush=True)


def sides_of(rows: int, top_p: float, device: torch.device) -> list:
    """What the sampler gets without seeds, with vLLM's, and with our processor."""
    engine = vllm_worker.Engine.__new__(vllm_worker.Engine)
    engine.draws, engine.sampling = True, {"max_tokens": 4, "temperature": TEMPERATURE, "top_p": top_p}
    processor = vllm_worker.SeededDraws(None, device, device.type == "cuda")
    added = [(place, SamplingParams(**engine._sampling(place)), None, []) for place in range(rows)]
    processor.update_state(BatchUpdate(rows, removed=[], added=added, moved=[]))
    cut = torch.full((rows,), top_p, device=device) if top_p < 1 else None
    free = replace(
        metadata(LogitsProcessors([])), all_greedy=False, all_random=True, top_p=cut,
        temperature=torch.full((rows,), TEMPERATURE, device=device),
    )  # fmt: skip
    seeds = {place: torch.Generator(device).manual_seed(place) for place in range(rows)}
    return [free, replace(free, generators=seeds), metadata(LogitsProcessors([processor]))]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
