"""What a training step dispatches, here and in the published script, and the least time of it on an H100: counted.

    PYTHONPATH=workflow python tests/bench/bench_step_counts.py --json counts.json

Both steps of bench_training run on the same 120 pairs, with the same loss (`negatives: micro_batch`), forward and
backward, without the optimizer. Ours cuts and packs its chunks as on a GPU of 80 GB, and once more without packing.
Both compute on the CPU; what they dispatch takes the times of `roofline`, in a GPU's default precision: frozen weights
in bfloat16 under autocast. Layers are alike, so one and two of them are counted, and the rest follows. `make bench-gpu`
measures.
"""

import argparse
import collections
import json
import tempfile
from pathlib import Path
from unittest import mock

import bench_training
import torch
from bench_training import MICRO_BATCHES, NANO, Published, ours, pairs
from gpu_models import SHAPES, config_of
from promptpool.training import lora, packed, rank, trainer
from roofline import ATTENTION, PEAK, PRODUCTS, Dispatched, factors
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, Qwen3Config

GPU_MEMORY = 80e9
PRECISION = {"dtype": "bfloat16"}  # what `auto` is on a GPU
# On a GPU a dropout is one kernel. Here it is a draw and a division, which are not counted, and a product, which is.
DROPOUT = frozenset({"bernoulli_", "div_"})
BACKWARD = 2.5  # products of attention's backward, of its forward's


class Step(Dispatched):
    """Of a step on the CPU. flops: of products and attention. tokens: that went through the model, with padding.

    logits: columns of the LM head's product, if there is one. Nobody reads it, so it is counted and not computed.
    """

    def __init__(self, logits: int | None = None):
        super().__init__("cpu", DROPOUT)
        self.flops, self.tokens, self.logits = collections.Counter(), 0, logits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.embedding.default:
            self.tokens += args[1].numel()
        return super().__torch_dispatch__(func, types, args, kwargs)

    def run(self, func, args: tuple, kwargs: dict) -> object:
        """A CPU may multiply bfloat16 a hundred times slower than float32."""
        pair = factors(func._schema.name.split("::")[1], args)
        if pair is None or pair[0].dtype != torch.bfloat16:
            return func(*args, **kwargs)
        if pair[1].shape[-1] == self.logits:
            return pair[0].new_zeros(*pair[0].shape[:-1], pair[1].shape[-1])
        return func(*(arg.float() for arg in args), **kwargs).bfloat16()

    def cost(self, name: str, args: tuple, least: float) -> tuple[str, float]:
        if (pair := factors(name, args)) is not None:
            kind, share, flops = "products", PRODUCTS, 2 * pair[0].numel() * pair[1].shape[-1]
        elif "scaled_dot_product" in name:
            back = "backward" in name
            query, key = args[1:3] if back else args[:2]
            flops = 4 * query.numel() * key.shape[2] * (BACKWARD if back else 1)
            kind, share = "attention", ATTENTION
        else:
            return "elementwise", least
        self.flops[kind] += flops
        return kind, max(least, flops / (PEAK * share))

    def facts(self) -> dict[str, float]:
        kinds = ("products", "attention", "elementwise")
        return {
            **{f"seconds, {kind}": self.seconds[kind] for kind in kinds},
            "seconds": self.seconds.total(), "kernels": self.kernels.total(), "flops": self.flops.total(),
        }  # fmt: skip


def shape(name: str) -> PreTrainedConfig:
    """The config of a model of bench_training, or of bench_gpu."""
    if name == "nano":
        return AutoConfig.from_pretrained(NANO)
    return Qwen3Config(**bench_training.WIDE) if name == "wide" else config_of(name)


def build(path: Path, name: str, layers: int) -> Path:
    """Random weights of a shape with fewer layers."""
    config = shape(name)
    config.num_hidden_layers, config.layer_types = layers, None
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(type(config)(**config.to_dict()), dtype=torch.float32)
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(NANO).save_pretrained(path)
    return path


def of_published(model: Path, table) -> Step:
    side = Published(model, table, torch.bfloat16)
    with Step(side.model.config.vocab_size) as counted, torch.autocast("cpu", torch.bfloat16):
        side.accumulate(0)
    return counted


def of_ours(model: Path, path: Path, folder: Path, live: int, packs: bool) -> Step:
    counted = Step()
    plain = trainer.ContrastiveTrainer.training_step

    def training_step(self, *args, **kwargs):
        with counted:
            return plain(self, *args, **kwargs)

    with (
        mock.patch.object(packed, "PACKS_ON", {"cpu": packs}),
        mock.patch.object(rank, "CHUNK_TOKENS", {"cpu": lora.CHUNK_TOKENS["cuda"]}),
        mock.patch.object(rank, "live_tokens", lambda *_: live),
        mock.patch.object(trainer.ContrastiveTrainer, "training_step", training_step),
    ):
        ours(model, path, folder, 1, {**MICRO_BATCHES, **PRECISION}, {})
    return counted


class FoundError(Exception):
    """The bytes that `kept` looks for."""


def kept(model: Path, path: Path, folder: Path) -> float:
    """Bytes that a token of our forward keeps for the backward."""
    plain = lora.bytes_a_token

    def found(*args):
        raise FoundError(plain(*args))

    with mock.patch.object(lora, "bytes_a_token", found):
        try:
            ours(model, path, folder, 1, {**MICRO_BATCHES, **PRECISION}, {})
        except FoundError as bytes_a_token:
            return bytes_a_token.args[0]
    raise AssertionError("training asks how much a token keeps")


def extended(one: dict, two: dict, layers: int) -> dict:
    """Counts of a model of so many layers, from those of one and two."""
    return {key: one[key] + (layers - 1) * (two[key] - one[key]) for key in one}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["nano", "wide", *SHAPES])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table, results = pairs(bench_training.BATCH), []
    for name in options.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            path, out, layers = folder / "pairs.parquet", folder / "tuned", shape(name).num_hidden_layers
            table.to_parquet(path)
            models = [build(folder / str(few), name, few) for few in (1, 2)]
            few, more = (kept(model, path, out / model.name / "probe") for model in models)
            live = int(lora.MEMORY_SHARE["cuda"] * GPU_MEMORY / (few + (layers - 1) * (more - few)))
            sides = {
                "published": [of_published(model, table) for model in models],
                **{
                    name: [of_ours(model, path, out / model.name / name, live, packs) for model in models]
                    for name, packs in (("ours", True), ("ours, padded", False))
                },
            }
        row = {
            side: {**extended(*(step.facts() for step in steps), layers), "tokens": steps[0].tokens}
            for side, steps in sides.items()
        }
        times = {
            f"published / {side}": {key: round(row["published"][key] / row[side][key], 2) for key in row[side]}
            for side in list(sides)[1:]
        }
        results.append({"model": name, "layers": layers, "tokens kept": live, **row, **times})
        print(json.dumps(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
