"""CPU seconds of nine prompts x the last token: one pass a family against vLLM's pooling with prefix caching.

    OMP_NUM_THREADS=1 PYTHONPATH=workflow:tests python tests/vllm/bench_pooling.py --texts 32 --rounds 3

The nine published prompts of config.yaml over the same texts, ids and weights (nano-docs), in turn, a round each. The
vectors are compared at the end. vLLM gets a text's prompts in a row, so that its cache holds prefix and text for them.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from promptpool.data.docstrings import read_docstrings
from promptpool.embedding.embedder import Embedder
from promptpool.templates import Template

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "workflow/resources/nano-docs")
LIMIT = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    prompts = dict(list(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["prompts"].items())[:9])
    engine = Embedder.load(MODEL, device="cpu", dtype="float32", max_text_tokens=LIMIT)
    rows = read_docstrings(["networkx"], workers=1)
    texts = rows["paragraphs"].drop_duplicates().sample(asked.texts, random_state=0).tolist()
    templates = [Template.parse(name, template) for name, template in prompts.items()]
    ids = [list(engine.composer.compose(template, text).ids) for text in texts for template in templates]
    print(f"{len(prompts)} prompts, {len(texts)} texts, {sum(map(len, ids)) / len(ids):.0f} tokens each", flush=True)
    seconds: dict[str, list[float]] = {"ours": [], "vLLM": []}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ids.json").write_text(json.dumps(ids))
        out = Path(folder) / "vectors.npy"
        surroundings = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR",
                        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(asked.threads)}  # fmt: skip
        worker = subprocess.Popen(
            [ROOT / ".vllm/bin/python", Path(__file__).with_name("pool_rounds.py"), MODEL, "ids.json", out], cwd=folder,
            env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in worker.stdout:
            if line.strip() == "ready":
                break
        engine.grid(texts[:2], prompts, ["last"])
        for _ in range(asked.rounds):
            began = time.process_time()
            found = engine.grid(texts, prompts, ["last"])
            seconds["ours"].append(time.process_time() - began)
            worker.stdin.write("\n")
            worker.stdin.flush()
            seconds["vLLM"].append(float(worker.stdout.readline()))
        worker.stdin.close()
        worker.wait()
        theirs = np.load(out).reshape(len(texts), len(prompts), -1)
    ours = np.stack([found[name, "last", -1] for name in prompts], 1)
    cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    ratios = [other / own for own, other in zip(seconds["ours"], seconds["vLLM"], strict=True)]
    print(f"lowest cosine {cosines.min():.6f}; CPU s ours {statistics.median(seconds['ours']):.2f}, vLLM "
          f"{statistics.median(seconds['vLLM']):.2f}; vLLM / ours {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
