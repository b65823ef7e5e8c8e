"""Seconds a training step: this package against the published script's step, side by side, interleaved, medians.

The published step (arXiv 2507.22729's code, as read): `AutoModelForCausalLM` under the same LoRA, so that the LM head
runs and gives logits nobody reads; `output_hidden_states=True`; strings formatted first, padded to the longest of the
micro-batch; a batch of 120 as 10 accumulated micro-batches of 12. Same weights, pairs, threads, optimizer, dtype.
"micro-batches" has its loss too.

    PYTHONPATH=workflow python tests/bench/bench_training.py --models nano wide --rounds 3 --steps 3 --out bench.json

On a machine that others use too, `--cpu-time --threads 1` counts this process's own seconds.
"""

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from promptpool.data.docstrings import read_docstrings
from promptpool.pairs.augmentation import halves
from promptpool.training import packed, trainer
from promptpool.training.rank import train_rank
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

ROOT = Path(__file__).parents[2]
NANO = ROOT / "workflow/resources/nano-docs"
TEMPLATE = 'This sentence: "{text}" belongs to the following cluster:'
LORA = {
    "rank": 64, "alpha": 16, "dropout": 0.05,
    "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}  # fmt: skip
WIDE = {
    "vocab_size": 50_000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 16,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "tie_word_embeddings": True,
    "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
BATCH, MICRO, CUT, TEMPERATURE = 120, 12, 100, 0.2
MICRO_BATCHES = {"negatives": "micro_batch", "micro_batch_size": MICRO}  # the published loss
CLOCK = time.perf_counter


def pairs(count: int) -> pd.DataFrame:
    """Summary and following paragraphs of docstrings: 5 to 100 tokens a text, as the paper's sentences have."""
    rows = read_docstrings(["scipy", "sklearn", "networkx"], workers=1).query("summary != paragraphs")
    rows = rows.sample(count, random_state=0)
    made = [halves(row.summary, row.paragraphs) for row in rows.itertuples()]
    table = pd.DataFrame(made, columns=["text", "positive"]).assign(style="halves")
    return table.assign(source_id=rows["id"].to_numpy())


def wide(folder: Path) -> Path:
    """A random Qwen3 of 16 layers x 512 with a vocabulary of 50,000, and nano-docs' tokenizer."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(Qwen3Config(**WIDE), dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(NANO).save_pretrained(folder)
    return folder


class Published:
    """The published script's step."""

    def __init__(self, model: Path, table: pd.DataFrame, dtype: torch.dtype = torch.float32):
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.tokenizer.padding_side = "left"
        base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        config = LoraConfig(
            task_type="CAUSAL_LM", r=LORA["rank"], lora_alpha=LORA["alpha"], lora_dropout=LORA["dropout"],
            target_modules=LORA["target_modules"],
        )  # fmt: skip
        self.model = get_peft_model(base, config).train()
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=5e-5)
        self.texts = [[TEMPLATE.replace("{text}", self.cut(text)) for text in table[side]]
                      for side in ("text", "positive")]  # fmt: skip

    def cut(self, text: str) -> str:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"][:CUT]
        return self.tokenizer.decode(ids)

    def embed(self, texts: list[str]) -> torch.Tensor:
        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        hidden = self.model(**batch, output_hidden_states=True).hidden_states[-1]
        return hidden[:, -1]

    def accumulate(self, start: int) -> None:
        """Gradients of a batch."""
        for at in range(start, start + BATCH, MICRO):
            a, b = (F.normalize(self.embed(side[at : at + MICRO]), dim=1) for side in self.texts)
            loss = F.cross_entropy(a @ b.T / TEMPERATURE, torch.arange(MICRO)) / (BATCH // MICRO)
            loss.backward()

    def step(self, start: int) -> float:
        began = CLOCK()
        self.accumulate(start)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return CLOCK() - began


def ours(model: Path, path: Path, folder: Path, steps: int, recipe: dict, execution: dict) -> list[float]:
    """Seconds of every step of a whole training; trainer, logging and tokenizing included."""
    spec = {
        "prompt": "cluster", "pooling": "last", "steps": [steps], "max_steps": steps, "epochs": None,
        "batch_size": BATCH, "negatives": "batch", "learning_rate": 5e-5, "warmup_steps": 0,
        "temperature": TEMPERATURE, "margin": 0.0, "symmetric": False, "mask_duplicates": True,
        "group_by_length": False, "validation": 0, "quantize": None, "weight_decay": 0.0, "seed": 1,
        "tokenization": "composed", "max_text_tokens": CUT, "dtype": "float32", "weights": None, "lora": LORA,
        **recipe,
    }  # fmt: skip
    train_rank(
        [str(path)], str(folder / "adapter"), model=str(model), revision=None, spec=spec, template=TEMPLATE,
        scratch=str(folder / "scratch"), device="cpu", execution=execution,
    )  # fmt: skip
    return pd.read_parquet(folder / "adapter" / "training.parquet")["seconds"].tolist()


def compare(name: str, model: Path, folder: Path, table: pd.DataFrame, rounds: int, steps: int) -> dict:
    path = folder / "pairs.parquet"
    table.to_parquet(path)
    published = Published(model, table)
    published.step(0)
    ways = {
        "ours": ({}, {}, False),
        "ours, micro-batches": (MICRO_BATCHES, {}, False),
        "ours, in a row": (MICRO_BATCHES, {}, True),  # as on a GPU
        "ours, little memory": ({}, {"micro_batch_size": 10}, False),
    }
    times: dict[str, list[float]] = {"published": [], **{way: [] for way in ways}}
    for number in range(rounds):
        for step in range(steps):
            start = (number * steps + step) * BATCH % (len(table) - BATCH)
            times["published"].append(published.step(start))
        for way, (recipe, execution, packs) in ways.items():
            with mock.patch.object(packed, "PACKS_ON", {"cpu": packs}):
                times[way] += ours(model, path, folder, steps + 1, recipe, execution)[1:]  # the first also prepares
        print(name, {way: [round(value, 2) for value in seconds] for way, seconds in times.items()}, flush=True)
    medians = {way: round(statistics.median(seconds), 3) for way, seconds in times.items()}
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return {
        "model": name, "seconds_a_step": medians,
        "times_faster": {way: round(medians["published"] / medians[way], 2) for way in ways}, "peak_gib_both": peak,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["nano", "wide"], choices=["nano", "wide"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    if options.cpu_time:
        globals()["CLOCK"] = time.process_time
        trainer.time = SimpleNamespace(monotonic=time.process_time)  # what the log's `seconds` are taken from
    torch.set_num_threads(options.threads)
    table = pairs(BATCH * (options.steps + 1) * 2)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.models:
            folder = Path(temporary, name)
            model = NANO if name == "nano" else wide(folder / "model")
            folder.mkdir(exist_ok=True)
            results.append(compare(name, model, folder, table, options.rounds, options.steps))
    clock = "CPU" if options.cpu_time else "wall"
    report = {
        "clock": clock,
        "threads": options.threads,
        "machine": platform.processor() or platform.machine(),
        "results": results,
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
