"""How many texts a second the host can feed a GPU: everything of the embeddings stage but the forward pass.

    OMP_NUM_THREADS=1 python tests/bench/bench_host.py --rounds 5

Three prompts x five poolings of one layer, width 1,024, float32. The forward pass is replaced by vectors that are
already there, so the batches are laid out, and the vectors collected, checked and written as always. Texts of made-up
words, of 51 and of 414 tokens on average with the prompts. The thread that would start the GPU's kernels is the one
that counts: its CPU seconds give "main". The threads that tokenize and write run beside it; "all" is the CPU seconds of
all of them, as on one core.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
PROMPTS = {
    "eol": 'This sentence: "{text}" means in one word:',
    "cluster": 'This sentence: "{text}" belongs to the following cluster:',
    "sum": 'This sentence: "{text}" can be summarized as',
}
POOLINGS = ["mean", "last", "eos", "weighted", "attention"]
WIDTH = 1024
KINDS = {"short": (1.72, 0.35, 3, 60), "long": (5.4, 0.7, 10, 500)}  # words: log mean, log deviation, least, most
BARS = {"short": 12_000, "long": 5_000}


def made_up(kind: str, count: int, words: Sequence[str]) -> list[str]:
    import numpy as np

    rng = np.random.default_rng(0)
    mean, deviation, least, most = KINDS[kind]
    lengths = np.clip(rng.lognormal(mean, deviation, count), least, most).astype(int)
    return [" ".join(rng.choice(words, length)) + f" {number}" for number, length in enumerate(lengths)]


def tiny(folder: Path) -> tuple[Path, list[str]]:
    """A model that is never run, and the words that its tokenizer was trained on."""
    import sys

    import numpy as np

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tiny import tiny_model, tiny_tokenizer

    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 10))) for _ in range(4000)]
    texts = [" ".join(rng.choice(words, 200)) for _ in range(200)]
    tiny_model(folder, hidden_size=32, vocab_size=8000, bos=False)
    tiny_tokenizer(texts, bos=False, vocabulary=8000).save_pretrained(folder)
    return folder, words


def without_the_pass(engine) -> list[int]:
    """Replaces the forward pass; gives a list that collects each batch's tokens."""
    import torch
    from promptpool.embedding import batches
    from promptpool.embedding.family_pooling import Readout
    from promptpool.embedding.packing import pack_trunks

    there = torch.rand(4096, len(PROMPTS) * len(POOLINGS), WIDTH)
    tokens: list[int] = []

    class Pass:
        def __init__(self, model, layout):
            self.layout, self.readout = layout, Readout(layout.tree, layout.poolings)

        def run(self, trunks):
            batch = pack_trunks(trunks, self.layout.tree, 0, len(self.layout.head), 0.05)
            tokens.append(batch.ids.shape[1])
            return {self.layout.numbers[0]: there[: len(trunks)]}

    batches.TreePass = Pass
    engine.batches.takes_trees = True
    engine.dims = lambda poolings: dict.fromkeys(poolings, WIDTH)
    return tokens


def run_once(path: Path, kind: str, texts: Sequence[str], folder: Path, budget: int) -> dict:
    import torch
    from promptpool.embedding import vector_file
    from promptpool.embedding.embedder import Embedder

    engine = Embedder.load(str(path), device="cpu", token_budget=budget)
    tokens = without_the_pass(engine)
    keys = {(prompt, pooling, -1): WIDTH for prompt in PROMPTS for pooling in POOLINGS}
    file = vector_file.VectorFile(
        folder / f"{kind}.safetensors", folder / f"{kind}.scratch", "x", keys, len(texts), "float32"
    )
    beside = getattr(vector_file, "written_behind", None)
    main, everything = time.thread_time(), time.process_time()
    started = time.perf_counter()
    chunks = engine.chunks(texts, PROMPTS, POOLINGS, [-1])
    if beside:
        with beside(file) as write:
            for rows, vectors in chunks:
                write(rows, vectors)
    else:
        for rows, vectors in chunks:
            file.write(rows, vectors)
    found = {
        "main": len(texts) / (time.thread_time() - main),
        "all": len(texts) / (time.process_time() - everything),
        "wall": len(texts) / (time.perf_counter() - started),
        "tokens": sum(tokens) / len(texts), "batches": len(tokens), "threads": torch.get_num_threads(),
    }  # fmt: skip
    (folder / f"{kind}.scratch" / "x" / "vectors.safetensors").unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=12_000)
    parser.add_argument("--budget", type=int, default=65_536, help="tokens of a batch")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as there:
        path, words = tiny(Path(there) / "model")
        for kind in KINDS:
            texts = made_up(kind, asked.texts, words)
            rounds = [run_once(path, kind, texts, Path(there), asked.budget) for _ in range(asked.rounds)]
            results[kind] = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            found = results[kind]
            print(
                f"{kind}: {found['tokens']:.0f} tokens a text; main thread {found['main']:,.0f} texts/s (bar "
                f"{BARS[kind]:,}), all threads on one core {found['all']:,.0f}, wall {found['wall']:,.0f}; "
                f"{threading.active_count()} threads left"
            )
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
