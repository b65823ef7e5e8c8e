"""How fast the one-pass engine is, side by side with the published loop and with sentence-transformers.

    python tests/bench/bench_embedding.py published --titles T.parquet --abstracts A.parquet --rounds 3 --json out.json
    python tests/bench/bench_embedding.py grouped | st | single | prefix | shared | memory  (the same options)

A random Qwen3 of 16 layers, width 512, vocabulary 50,000, float32, on the CPU. In every round all sides run once, in
turn; the ratio of a round is what counts, and the median over the rounds is reported. `--size` takes a share of the
texts, for a first look. Parquet files have a column `text`.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROMPTS = {
    "none": "{text}",
    "eol": 'This sentence: "{text}" means in one word:',
    "cluster": 'This sentence: "{text}" belongs to the following cluster:',
    "cluster2": "Cluster the text: {text}",
    "sum": 'This sentence: "{text}" can be summarized as',
    "pcot": 'After thinking step by step, this sentence: "{text}" means in one word',
    "classification": 'This sentence : "{text}" can be classified as:',
    "question": 'Which cluster would you assign the sentence: "{text}" to?',
    "spec_emotion": 'Classify the emotion expressed in the given Twitter "{text}" into one of the six emotions: '
    "anger, fear, joy, love, sadness, and surprise",
}
INSTRUCTION = (
    "Instruct: Given the title of a scientific paper, identify the field of research that the paper belongs to, and "
    "think of other papers that a reader of this one would also want to read in the same field.\nTitle: {text}"
)
ENDINGS = [
    "means in one word:", "belongs to the following cluster:", "can be summarized as", "can be classified as:",
    "is about", "was written by someone who works on", "is a paper of the field", "answers the question",
    "uses the method", "is of interest to", "would be filed under", "reminds a reader of", "is most similar to",
    "contradicts", "has the keyword", "is the opposite of", "says the same as", "in a single topic word:",
    "is a kind of", "should be read together with",
]  # fmt: skip
SHARED = {f"p{number}": 'This sentence: "{text}" ' + ending for number, ending in enumerate(ENDINGS)}
SIX = ("mean", "last", "eos", "weighted", "max", "concat")
MAX_TOKENS = 512


def build_model(folder: Path, texts: Sequence[str]) -> Path:
    """A random Qwen3 of the bars' shape and a byte-level BPE of 50,000 entries trained on the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

    if (folder / "config.json").exists():
        return folder
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=50_000, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([*texts, *PROMPTS.values(), *SHARED.values(), INSTRUCTION], trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|end|>").save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=50_000, hidden_size=512, intermediate_size=1536, num_hidden_layers=16, num_attention_heads=8,
        num_key_value_heads=4, head_dim=64, tie_word_embeddings=True, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


class Published:
    """The published script's loop: a run a variant, batches of 32 as they come, the LM head, all hidden states kept."""

    def __init__(self, path: Path):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path, padding_side="right")

    def run(self, texts: Sequence[str], template: str, pooling: str):
        torch, rows = self.torch, []
        for start in range(0, len(texts), 32):
            filled = [template.replace("{text}", text) for text in texts[start : start + 32]]
            batch = self.tokenizer(filled, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            with torch.no_grad():
                states = self.model(**batch, output_hidden_states=True).hidden_states[-1]
            mask = batch["attention_mask"]
            if pooling == "mean":
                rows.append((states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))
            else:
                rows.append(states[torch.arange(len(states)), mask.sum(1) - 1])
        return torch.cat(rows).numpy()


class SentenceTransformers:
    """Plain sentence-transformers, one `encode` a variant, the prompt in its tokenizer; models are built beforehand."""

    def __init__(self, path: Path, variants: Sequence[tuple[str, str]]):
        from promptpool.models.sentence_model import sentence_model
        from promptpool.templates import Template

        self.models = {}
        for template, pooling in variants:
            model = sentence_model(str(path), Template.parse("p", template), pooling, MAX_TOKENS, device="cpu")
            if self.models:  # 54 copies of the weights would measure the memory
                model[0].model = next(iter(self.models.values()))[0].model
            self.models[template, pooling] = model

    def run(self, texts: Sequence[str], template: str, pooling: str):
        return self.models[template, pooling].encode(list(texts), batch_size=32, show_progress_bar=False)


def ours(path: Path, **options):
    from promptpool import Embedder

    return Embedder.load(str(path), device="cpu", dtype="float32", max_text_tokens=MAX_TOKENS, **options)


CLOCK = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCK["wall"]


def interleaved(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds by side. The order turns with every round, so that a slow moment meets each side alike."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = clock()
            sides[name]()
            seconds[name].append(clock() - started)
            print(f"round {number + 1}: {name} {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def told(bar: str, wanted: str, seconds: dict[str, list[float]], slow: str, fast: str, **facts) -> dict:
    ratios = [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]
    return {
        "bar": bar,
        "wanted": wanted,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        **facts,
    }


def alike(mine, theirs) -> float:
    """Largest difference, relative to the largest value."""
    import numpy as np

    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())


def published(path: Path, titles: list[str], abstracts: list[str], rounds: int) -> list[dict]:
    """Titles and abstracts as a task mixes them: nearly every unsorted batch is padded to an abstract's length."""
    mixed = random.Random(0).sample([*titles, *abstracts], len(titles) + len(abstracts))
    return against_published(
        path, {"titles and abstracts, mixed": (mixed, ">= 15"), "titles": (titles, ">= 4")}, rounds
    )


def grouped(path: Path, titles: list[str], abstracts: list[str], rounds: int) -> list[dict]:
    """The order that suits the published loop best: it pads next to nothing."""
    return against_published(path, {"titles, then abstracts": ([*titles, *abstracts], "no bar")}, rounds)


def against_published(path: Path, texts_of: dict[str, tuple[list[str], str]], rounds: int) -> list[dict]:
    loop, engine = Published(path), ours(path)
    found = []
    for name, (texts, wanted) in texts_of.items():
        sides = {
            "published": lambda t=texts: [loop.run(t, p, q) for p in PROMPTS.values() for q in ("mean", "last")],
            "promptpool": lambda t=texts: engine.grid(t, PROMPTS, ["mean", "last"]),
        }
        bar = f"published loop: nine prompts x {{mean, last}}, {name}"
        found.append(told(bar, wanted, interleaved(sides, rounds), *sides, texts=len(texts)))
    sample = texts[:8]
    error = alike(engine.encode(sample, PROMPTS["none"], "last"), loop.run(sample, PROMPTS["none"], "last"))
    return [*found, {"bar": "published loop: largest relative difference, no prompt", "ratio": error}]


def st(path: Path, titles: list[str], abstracts: list[str], rounds: int) -> list[dict]:
    plain = SentenceTransformers(path, [(p, q) for p in PROMPTS.values() for q in SIX])
    engine = ours(path)
    found = []
    kinds = {
        "titles and abstracts": (titles, abstracts),
        "titles": (titles,),
    }  # each kind encoded by itself: no padding
    for poolings, wanted in ((SIX, ">= 6"), (("mean", "last"), ">= 2")):
        for name, parts in kinds.items():
            texts = [text for part in parts for text in part]
            variants = [(p, q) for p in PROMPTS.values() for q in poolings]
            sides = {
                "st": lambda parts=parts, variants=variants: [plain.run(t, *v) for v in variants for t in parts],
                "promptpool": lambda t=texts, q=poolings: engine.grid(t, PROMPTS, q),
            }
            bar = f"sentence-transformers: nine prompts x {len(poolings)} poolings, {name}"
            found.append(told(bar, wanted, interleaved(sides, rounds), *sides, texts=len(texts)))
    grid = engine.grid(titles[:16], PROMPTS, SIX)
    worst = max(alike(grid[n, q, -1], plain.run(titles[:16], p, q)) for n, p in PROMPTS.items() for q in SIX)
    return [*found, {"bar": "sentence-transformers: largest relative difference, all variants", "ratio": worst}]


def single(path: Path, titles: list[str], abstracts: list[str], rounds: int) -> list[dict]:
    variants = [(PROMPTS[name], pooling) for name in ("none", "eol") for pooling in ("mean", "last")]
    plain, engine = SentenceTransformers(path, variants), ours(path)
    found = []
    for name, texts in (("titles", titles), ("abstracts", abstracts)):
        for template, pooling in variants:
            sides = {
                "st": lambda t=texts, p=template, q=pooling: plain.run(t, p, q),
                "promptpool": lambda t=texts, p=template, q=pooling: engine.encode(t, p, q),
            }
            bar = f"sentence-transformers: one variant, {template!r}, {pooling}, {name}"
            found.append(told(bar, ">= 1.2", interleaved(sides, rounds), *sides, texts=len(texts)))
    return found


def prefix(path: Path, titles: list[str], _abstracts: list[str], rounds: int) -> list[dict]:
    plain, engine = SentenceTransformers(path, [(INSTRUCTION, "mean"), (INSTRUCTION, "last")]), ours(path)
    tokens = len(engine.composer.piece(INSTRUCTION.removesuffix("{text}")))
    found = []
    for pooling in ("mean", "last"):
        sides = {
            "st": lambda q=pooling: plain.run(titles, INSTRUCTION, q),
            "promptpool": lambda q=pooling: engine.encode(titles, INSTRUCTION, q),
        }
        bar = f"sentence-transformers: one variant behind a long prefix, {pooling}, titles"
        found.append(told(bar, ">= 2", interleaved(sides, rounds), *sides, prefix_tokens=tokens, texts=len(titles)))
    return found


def shared(path: Path, titles: list[str], abstracts: list[str], rounds: int) -> list[dict]:
    engine = ours(path)
    found = []
    for name, texts, wanted in (("abstracts", abstracts, "<= 2"), ("titles", titles, "<= 7")):
        sides = {
            "twenty": lambda t=texts: engine.grid(t, SHARED, ["mean", "last"]),
            "one": lambda t=texts: engine.grid(t, {"p0": SHARED["p0"]}, ["mean", "last"]),
        }
        bar = f"twenty prompts sharing a prefix, against one: {name}"
        found.append(told(bar, wanted, interleaved(sides, rounds), *sides, texts=len(texts)))
    return found


def memory(path: Path, _titles: list[str], abstracts: list[str], rounds: int) -> list[dict]:
    """Peak resident memory above the loaded model's, each side in a process of its own, at the same token budget."""
    engine = ours(path)
    ids = sorted(map(len, engine.composer.texts(abstracts)), reverse=True)
    budget = 32 * (ids[0] + len(engine.composer.piece("This sentence: means in one word:")) + 2)
    found = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as handle:
        json.dump(abstracts, handle)
        handle.flush()
        for prompts, poolings in (("one", ("mean",)), ("nine", SIX)):
            peaks: dict[str, list[float]] = {"promptpool": [], "st": []}
            for _ in range(rounds):
                for side in peaks:
                    spec = json.dumps([side, str(path), handle.name, prompts, poolings, budget])
                    command = [sys.executable, __file__, "peak", "--spec", spec]
                    answer = subprocess.run(command, capture_output=True, text=True, check=True)
                    peaks[side].append(float(answer.stdout.strip().splitlines()[-1]))
            bar = f"peak memory above the loaded model, {prompts} prompt(s) x {len(poolings)}, abstracts, in MiB"
            found.append(told(bar, "<= 1.3", peaks, *peaks, token_budget=budget))
    return found


def peak(spec: str) -> None:
    """One side of `memory`, in this process: prints MiB."""
    side, path, file, prompts, poolings, budget = json.loads(spec)
    texts = json.loads(Path(file).read_text())
    chosen = {"eol": PROMPTS["eol"]} if prompts == "one" else PROMPTS
    if side == "st":
        plain = SentenceTransformers(Path(path), [(p, q) for p in chosen.values() for q in poolings])
        warm = next(iter(plain.models))
        plain.run(texts[:1], *warm)
    else:
        engine = ours(Path(path), token_budget=budget)
        engine.encode(texts[:1], PROMPTS["eol"])
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading is not the question
    before = memory_of("VmRSS")
    if side == "st":
        for key in plain.models:
            plain.run(texts, *key)
    else:
        engine.grid(texts, chosen, poolings)
    print(memory_of("VmHWM") - before)


def memory_of(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


BENCHES = {f.__name__: f for f in (published, grouped, st, single, prefix, shared, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=[*BENCHES, "peak"])
    parser.add_argument("--titles", help="parquet of short texts")
    parser.add_argument("--abstracts", help="parquet of long texts")
    parser.add_argument("--size", type=float, default=1.0, help="share of 1,000 titles and 250 abstracts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCK, default="wall", help="cpu: for a busy machine, with --threads 1")
    parser.add_argument("--model", help="folder to build the model in, kept for the next time")
    parser.add_argument("--json", help="where the result goes, besides the terminal")
    parser.add_argument("--spec", help=argparse.SUPPRESS)
    given = parser.parse_args()
    global clock
    clock = CLOCK[given.clock]
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.path.insert(0, str(Path(__file__).parents[2] / "workflow"))
    import pandas as pd
    import torch

    torch.set_num_threads(given.threads)
    if given.bench == "peak":
        peak(given.spec)
        return
    titles, abstracts = (pd.read_parquet(path)["text"].tolist() for path in (given.titles, given.abstracts))
    folder = Path(given.model or tempfile.mkdtemp())
    build_model(folder, [*titles, *abstracts])
    draw = [pd.Series(texts).drop_duplicates().sample(frac=1, random_state=0).tolist() for texts in (titles, abstracts)]
    titles, abstracts = draw[0][: round(1000 * given.size)], draw[1][: round(250 * given.size)]
    result = {
        "bench": given.bench, "rounds": given.rounds, "threads": given.threads, "clock": given.clock,
        "titles": len(titles), "abstracts": len(abstracts), "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "results": BENCHES[given.bench](folder, titles, abstracts, given.rounds),
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    print(text)
    if given.json:
        Path(given.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
