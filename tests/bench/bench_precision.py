"""How much of what tuning did to the vectors each number type keeps: docs/explanation/measured/training.md's table.

Trains nano-docs on halves of docstrings (rank 64, batch 24, on a CPU in float32) and embeds texts with the base and the
tuned model in each path. Kept is the projection of a path's move (its own tuned minus its own base vectors) on
float32's move, over all texts; noise is what is at right angles to it, in units of float32's move. TF32 is emulated: a
forward hook rounds both operands of each linear layer to 10 bits of mantissa, sums stay float32. `weights` is
precision.Kept, what load time measures.

    PYTHONPATH=workflow python tests/bench/bench_precision.py --rates 5e-5 5e-4 --steps 40 100 --threads 1
"""

import argparse
import inspect
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from promptpool.embedding.embedder import Embedder
from promptpool.embedding.tree_attention import IMPLEMENTATION
from promptpool.models import backbone
from promptpool.models.backbone import Backbone
from promptpool.models.precision import Precision
from promptpool.training.rank import train_rank

NANO = Path(__file__).parents[2] / "workflow/resources/nano-docs"
TEMPLATE = 'This sentence: "{text}" belongs to:'
HALF = torch.bfloat16
SPEC = {
    "prompt": "cluster", "pooling": "last", "epochs": None, "batch_size": 24, "negatives": "batch", "warmup_steps": 5,
    "temperature": 0.2, "margin": 0.0, "symmetric": False, "mask_duplicates": True, "group_by_length": False,
    "validation": 0, "quantize": None, "weight_decay": 0.0, "seed": 7, "tokenization": "composed", "weights": None,
    "max_text_tokens": 40, "dtype": "float32",
    "lora": {
        "rank": 64, "alpha": 16, "dropout": 0.05,
        "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    },
}  # fmt: skip


def halves() -> pd.DataFrame:
    """Pairs from numpy's docstrings: words 1 to 14 and 15 to 28."""
    found = (inspect.getdoc(getattr(np, name)) or "" for name in dir(np))
    words = [text.split() for text in dict.fromkeys(found) if len(text.split()) > 30]
    sides = {"text": [" ".join(w[:14]) for w in words], "positive": [" ".join(w[14:28]) for w in words]}
    return pd.DataFrame(sides).assign(style="halves", source_id=[str(number) for number in range(len(words))])


def tf32(values: torch.Tensor) -> torch.Tensor:
    """Float32 rounded to 10 bits of mantissa, ties to even, as a GPU's tensor cores read it."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def emulate_tf32(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = tf32(module.weight.data)
            module.register_forward_pre_hook(lambda _, given: (tf32(given[0]), *given[1:]))


@contextmanager
def unmerged(on: bool):
    """The adapter's products beside the base's, none added to the weights."""
    before = backbone.merged
    if on:
        backbone.merged = lambda model, adapter, *_, **__: (
            PeftModel.from_pretrained(model, adapter).base_model.model,
            None,
        )
    try:
        yield
    finally:
        backbone.merged = before


def vectors(adapter: str | None, texts: list[str], path: str) -> np.ndarray:
    with ExitStack() as stack:
        stack.enter_context(unmerged("unmerged" in path))
        loaded = backbone.load_backbone(
            str(NANO), adapter=adapter, device="cpu", dtype="float32", attention=IMPLEMENTATION
        )
    model = loaded.model
    if "TF32" in path:
        emulate_tf32(model)
    elif path.startswith("bfloat16 weights"):
        for name, weight in model.named_parameters():
            if "lora_" not in name:
                weight.data = weight.data.to(HALF)
    precision = Precision(HALF if path.startswith("bfloat16 weights") else torch.float32, "autocast" in path)
    if path == "bfloat16 weights, merged, float32 arithmetic":
        model, precision = model.float(), Precision()
    made: Backbone = replace(loaded, model=model, precision=precision)
    return Embedder(made, 40).encode(texts, TEMPLATE, "last").astype(np.float64)


PATHS = (
    "float32 weights, unmerged LoRA, TF32 products (emulated)",
    "float32 weights, merged, TF32 products (emulated)",
    "float32 weights, merged, bfloat16 autocast",
    "bfloat16 weights, unmerged LoRA",
    "bfloat16 weights, merged",
    "bfloat16 weights, merged, float32 arithmetic",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", nargs="+", type=float, default=[5e-5, 5e-4])
    parser.add_argument("--steps", nargs="+", type=int, default=[40, 100])
    parser.add_argument("--texts", type=int, default=120)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = halves()
    texts = table["text"].tolist()[: args.texts]
    base = {path: vectors(None, texts, path) for path in ("float32", *PATHS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table.to_parquet(folder / "pairs.parquet")
        for rate in args.rates:
            out = folder / f"lr-{rate}"
            spec = {**SPEC, "learning_rate": rate, "steps": args.steps, "max_steps": max(args.steps)}
            train_rank(
                pairs=[str(folder / "pairs.parquet")], out=str(out), model=str(NANO), revision=None, spec=spec,
                template=TEMPLATE, scratch=f"{out}.scratch", device="cpu", execution={},
            )  # fmt: skip
            for step in args.steps:
                show(str(out / f"step-{step}"), f"lr {rate:g}, {step} steps", texts, base)


def show(adapter: str, named: str, texts: list[str], base: dict[str, np.ndarray]) -> None:
    move = vectors(adapter, texts, "float32") - base["float32"]
    size = np.linalg.norm(move, axis=1) / np.linalg.norm(base["float32"], axis=1)
    print(f"{named}: float32's move is {size.mean():.4f} of a vector; weights keep {weights_kept(adapter):.4f}")
    for path in PATHS:
        own = vectors(adapter, texts, path) - base[path]
        kept = (own * move).sum() / (move * move).sum()
        noise = np.linalg.norm(own - kept * move) / np.linalg.norm(move)
        print(f"  {path}: kept {kept:.4f}, noise {noise:.3f}", flush=True)


def weights_kept(adapter: str) -> float:
    model = backbone.load_backbone(str(NANO), device="cpu", dtype="float32").model
    return backbone.share_kept(PeftModel.from_pretrained(model, adapter), HALF)


if __name__ == "__main__":
    main()
