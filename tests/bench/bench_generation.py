"""Tokens a second of the backends against a plain loop of `generate`, side by side on one machine.

    PYTHONPATH=workflow python tests/bench/bench_generation.py                      # the demo's model, 5 M parameters
    PYTHONPATH=workflow python tests/bench/bench_generation.py --layers 8 --width 512    # a random one of that shape

The loop is the published script's: batches of 16 in the order of the texts, each as long as its longest. All write
the same texts with the same model, number type, settings and number of threads. Rounds are interleaved; the medians
are compared. Opening is left out (a run opens once): it is told apart. A token counts up to a text's own end.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from promptpool.data.docstrings import read_docstrings
from promptpool.generation.backend import Request, WriterSetup, open_backend
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

NANO = Path(__file__).parents[2] / "workflow/resources/nano-docs"
VLLM = {
    "python": None, "tensor_parallel": 1, "gpu_memory": 0.5, "max_model_len": None, "prefix_caching": True,
    "enforce_eager": None, "kv_cache_gib": 2,
}  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--layers", type=int, help="of a random Qwen3; without it, the demo's model")
    arguments.add_argument("--width", type=int, default=512, help="of a random Qwen3")
    arguments.add_argument("--texts", type=int, default=256)
    arguments.add_argument("--max-new-tokens", type=int, default=48)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    asked = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)  # vLLM's worker reads it
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = str(NANO) if asked.layers is None else random_model(folder, asked.layers, asked.width)
        print(json.dumps(measure(model, asked), indent=2))


def measure(model: str, asked: argparse.Namespace) -> dict:
    """Tokens a second by contender, each round's and the median, and the backends' ratios to the loop."""
    sampling = {"max_new_tokens": asked.max_new_tokens, "temperature": 0.7, "top_p": 0.9}
    summaries = read_docstrings(["scipy"])["summary"].drop_duplicates().sort_values(key=lambda c: c.map(hash_of))
    requests = [Request(f"{text}\n\n", False, seed) for seed, text in enumerate(summaries.head(asked.texts))]
    writers: dict[str, Callable[[], int]] = {"loop of 16": Loop(model, sampling, requests)}
    opening: dict[str, float] = {}
    backends = []
    for kind, options in (("transformers", {"batch_size": 64}), ("vllm", VLLM)):
        started = time.perf_counter()
        backend = open_backend(kind, WriterSetup(model, None, sampling, options, needs_chat=False))
        opening[kind] = round(time.perf_counter() - started, 1)
        backends.append(backend)
        writers[kind] = lambda backend=backend: sum(answer.tokens for answer in backend.write(requests))
        backend.write(requests[:16])  # the first batch of all is slower
    rates: dict[str, list[float]] = {name: [] for name in writers}
    for number in range(asked.rounds):
        for name, write in writers.items():
            started = time.perf_counter()
            tokens = write()
            rates[name].append(round(tokens / (time.perf_counter() - started), 1))
            print(f"round {number + 1}: {name} {rates[name][-1]} tokens/s", file=sys.stderr)
    for backend in backends:
        backend.close()
    middle = {name: statistics.median(found) for name, found in rates.items()}
    loop = middle["loop of 16"]
    return {
        "model": Path(model).name, "texts": asked.texts, "threads": asked.threads, **sampling,
        "load": round(os.getloadavg()[0], 1), "seconds_to_open": opening, "tokens_per_second": rates,
        "median": middle, "ratio_to_loop": {name: round(rate / loop, 2) for name, rate in middle.items()},
    }  # fmt: skip


class Loop:
    """The published way: batches of 16 as the texts come, sampled together."""

    def __init__(self, model: str, sampling: dict, requests: list[Request]):
        self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.eos_token
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.sampling, self.texts = {**sampling, "top_k": 0, "do_sample": True}, [r.text for r in requests]

    @torch.inference_mode()
    def __call__(self) -> int:
        """Writes all texts; returns the number of tokens."""
        tokens, end = 0, self.tokenizer.eos_token_id
        for start in range(0, len(self.texts), 16):
            batch = self.tokenizer(
                self.texts[start : start + 16], return_tensors="pt", padding=True, return_token_type_ids=False
            ).to(self.model.device)
            written = self.model.generate(**batch, **self.sampling, pad_token_id=end)[:, batch["input_ids"].shape[1] :]
            tokens += sum(row.index(end) + 1 if end in row else len(row) for row in written.tolist())
        return tokens


def hash_of(text: str) -> str:
    from promptpool.artifacts.files import text_digest

    return text_digest(text)


def random_model(folder: str, layers: int, width: int) -> str:
    """A random Qwen3 with the demo's tokenizer, saved; its texts are noise, its arithmetic is a real model's."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=8192, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, head_dim=64,
        num_attention_heads=width // 64, num_key_value_heads=max(1, width // 128), max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
        initializer_range=0.15,  # as peaked as a trained model's distribution: top-p's cost depends on it
    )  # fmt: skip
    path = Path(folder) / f"random-qwen3-{layers}x{width}"
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    AutoTokenizer.from_pretrained(NANO).save_pretrained(path)
    return str(path)


if __name__ == "__main__":
    main()
