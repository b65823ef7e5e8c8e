"""CPU seconds a training step: this package's loss against sentence-transformers' own cached loss, in turn.

    PYTHONPATH=workflow OMP_NUM_THREADS=1 python tests/bench/bench_cached_loss.py --rounds 3

Both losses see the same tuned model, the same tokens and all negatives of the batch. Forward, backward, clipping and
the optimizer count, tokenizing does not. Dropout is off, and equal losses and gradients are asserted first. sentence-
transformers' token-packed variant (`mini_batch_num_tokens`) counts no padding; its flattened inputs need flash
attention, which a CPU has not. *Little memory*: no chunk keeps its graph here either, as in sentence-transformers.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from bench_training import LORA, TEMPERATURE, TEMPLATE, pairs, wide
from promptpool.templates import Template
from promptpool.training.ahead import with_lengths
from promptpool.training.lora import tunable_model
from promptpool.training.losses import InfoNCE
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

NANO = Path(__file__).parents[2] / "workflow/resources/nano-docs"
SPEC = {
    "prompt": "cluster", "pooling": "last", "quantize": None, "tokenization": "composed",
    "lora": {**LORA, "dropout": 0.0},
}  # fmt: skip
ALL = 10**9  # tokens: every chunk keeps its graph


def losses(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    ours = {"temperature": TEMPERATURE, "mask_duplicates": False}
    theirs = {"scale": 1 / TEMPERATURE}
    return {
        "ours": InfoNCE(model, live_tokens=ALL, chunk_tokens=512, **ours),
        "ours, little memory": InfoNCE(model, live_tokens=0, chunk_tokens=512, **ours),
        "theirs, 32 texts": CachedMultipleNegativesRankingLoss(model, mini_batch_size=32, **theirs),
        "theirs, 512 tokens": CachedMultipleNegativesRankingLoss(model, mini_batch_num_tokens=512, **theirs),
        "theirs, 2,048 tokens": CachedMultipleNegativesRankingLoss(model, mini_batch_num_tokens=2_048, **theirs),
    }


def batches(model, batch: int, count: int) -> list[list[dict]]:
    table = pairs(batch * count)
    made = []
    for start in range(0, len(table), batch):
        sides = {}
        for side in ("text", "positive"):
            features = model.preprocess(table[side].tolist()[start : start + batch])
            sides |= {f"{side}_{name}": values for name, values in features.items()}
        known = with_lengths(sides)  # a thread makes them beside the step
        made.append([
            {name.removeprefix(f"{side}_"): values for name, values in known.items() if name.startswith(f"{side}_")}
            for side in ("text", "positive")
        ])  # fmt: skip
    return made


def step(loss, model, features: list[dict], optimizer) -> tuple[float, float, torch.Tensor]:
    """CPU seconds, the loss, and the gradients' norm."""
    if not isinstance(loss, InfoNCE):
        features = [{name: values for name, values in side.items() if name != "lengths"} for side in features]
    labels = torch.arange(2 * len(features[0]["input_ids"])).reshape(-1, 2)
    began = time.process_time()
    value = loss([dict(side) for side in features], labels)
    value.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if optimizer:
        optimizer.step()
    model.zero_grad()
    return time.process_time() - began, float(value.detach()), norm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["nano", "wide"], default="nano")
    parser.add_argument("--batch", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = str(NANO if asked.model == "nano" else wide(Path(folder)))
        model = tunable_model(
            path, Template.parse("cluster", TEMPLATE), SPEC, 100, revision=None, device=torch.device("cpu"),
            dtype=torch.float32, attention="sdpa", checkpointing=False,
        )  # fmt: skip
        model.train()
        ways = losses(model)
        features = batches(model, asked.batch, asked.rounds + 1)
        values = {way: step(loss, model, features[0], None)[1:] for way, loss in ways.items()}
        first = values["ours"]
        for way, (value, norm) in values.items():
            assert abs(value - first[0]) < 1e-4 * first[0] and abs(norm - first[1]) < 1e-3 * first[1], (way, values)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-5)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for batch in features[1:]:
            for way, loss in ways.items():
                seconds[way].append(step(loss, model, batch, optimizer)[0])
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    for way, found in seconds.items():
        ratios = [one / own for one, own in zip(found, seconds["ours"], strict=True)]
        print(f"{way}: {medians[way]:.2f} CPU s a step, {statistics.median(ratios):.2f} x ours "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps({"model": asked.model, "batch": asked.batch, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
