"""What share of an H100's peak the one-pass engine could reach at most: counted, not timed.

    OMP_NUM_THREADS=2 python tests/bench/bench_roofline.py

The operators that a batch really dispatches are counted on meta tensors of the real shapes (bfloat16), and take the
times of `roofline`. Compiled layers: the layer is compiled by torch's own compiler for this CPU at the model's width,
and the bytes and kernels of its fused operators, as the compiler counts them, replace the layer's elementwise ones. A
CPU's fusion is taken for a GPU's. `make bench-gpu` measures.
"""

import argparse
import contextlib
import json
import logging
from pathlib import Path

import numpy as np
import torch
from promptpool.embedding import family_pooling
from promptpool.embedding import tree_attention as trees
from promptpool.embedding.embedder import SLACK
from promptpool.embedding.forward_passes import Layout, TreePass
from promptpool.embedding.packing import Trunk, pack_trunks, plant
from promptpool.models.fused_layers import OPTIONS, compiled_parts, number_attention
from promptpool.models.precision import exact
from roofline import ATTENTION, BYTES, LAUNCH, PEAK, PRODUCTS, Dispatched, aten, factors
from torch._inductor import compile_fx, config, metrics
from transformers import AutoModel, LlamaConfig, Qwen3Config

FLOAT32 = 50e12  # what products in full precision reach
POOLINGS = ("mean", "last", "eos", "weighted", "attention")
SUFFIXES = [tuple(range(start, start + 6)) for start in (30, 40, 50)]
BARS = {"qwen3-0.6b": 0.40, "llama-3.2-1b": 0.55}
COPIES = {"cat", "clone", "copy_", "constant_pad_nd"}
SHAPES = {
    "qwen3-0.6b": lambda layers: Qwen3Config(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128,
    ),
    "llama-3.2-1b": lambda layers: LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64,
    ),
}  # fmt: skip
LAYERS = {"qwen3-0.6b": 28, "llama-3.2-1b": 16}
plain_attended = trees._attended
inside = {"attention": False, "layer": False}


class Counted(Dispatched):
    """Of a forward pass in bfloat16 on meta tensors."""

    def __init__(self):
        super().__init__("meta")

    def cost(self, name: str, args: tuple, least: float) -> tuple[str, float]:
        if (pair := factors(name, args)) is not None:
            half = pair[0].dtype == torch.bfloat16
            seconds = 2 * pair[0].numel() * pair[1].shape[-1] / (PEAK * PRODUCTS if half else FLOAT32)
            return "products" if half else "pooling", max(least, seconds)
        if name == "_scaled_dot_product_efficient_attention":
            query, key = args[:2]
            flops = 4 * query[..., 0].numel() * key.shape[2] * query.shape[3]
            return "attention", max(least, flops / (PEAK * ATTENTION))
        if inside["attention"]:
            return ("attention's copies" if name in COPIES else "attention's masks"), least
        return ("layers' elementwise" if inside["layer"] else "other"), least


def sdpa(q, k, v, attn_mask=None, is_causal=False, scale=None, enable_gqa=False, dropout_p=0.0):
    """As CUDA's: a mask whose rows are not aligned is copied."""
    if attn_mask is not None:
        if any(stride % 8 for stride in attn_mask.stride()[:-1]):
            more = -attn_mask.shape[-1] % 8
            attn_mask = torch.nn.functional.pad(attn_mask, (0, more))[..., : attn_mask.shape[-1]]
        attn_mask = attn_mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    return aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, False, 0.0, is_causal, scale=scale)[0]


def attended(*args, **kwargs):
    inside["attention"] = True
    try:
        return plain_attended(*args, **kwargs)
    finally:
        inside["attention"] = False


def model_of(name: str, layers: int, device: str):
    with torch.device(device):
        return AutoModel.from_config(
            SHAPES[name](layers), dtype=torch.bfloat16, attn_implementation=trees.IMPLEMENTATION
        ).eval()


def lengths_of(kind: str, budget: int, nodes: int) -> list[int]:
    """One batch's texts, longest first: short ones of about 14 tokens, or long ones of about 230."""
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(2.6, 0.35, 8000) if kind == "short" else rng.lognormal(5.2, 0.7, 8000)
    lengths = np.sort(np.clip(drawn, 3, 60 if kind == "short" else 512).astype(int))[::-1][1000:]
    return lengths[: int(np.searchsorted(np.cumsum(lengths + nodes), budget))].tolist()


def counted_pass(name: str, lengths: list[int]) -> tuple[Counted, int]:
    """What a pass dispatches, and its tokens with padding."""
    model = model_of(name, LAYERS[name], "meta")
    for layer in compiled_parts(model):
        layer.register_forward_pre_hook(lambda *_: inside.update(layer=True))
        layer.register_forward_hook(lambda *_: inside.update(layer=False))
    layout = Layout((), plant(SUFFIXES, 0), POOLINGS, (LAYERS[name],), 0, SLACK)
    plain = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = sdpa
    trees._attended = attended
    for module in (trees, family_pooling):
        module.exact = lambda device: contextlib.nullcontext()  # meta has no autocast
    try:
        with Counted() as counted:
            trunks = [Trunk([5] * length, 0, length) for length in lengths]
            TreePass(model, layout).run(trunks)
    finally:
        torch.nn.functional.scaled_dot_product_attention = plain
        trees._attended = plain_attended
        for module in (trees, family_pooling):
            module.exact = exact
    return counted, pack_trunks(trunks, layout.tree, 0, 0, SLACK).ids.shape[1]


def fused_part(name: str, number: int) -> tuple[float, int]:
    """Bytes a token and kernels of a compiled layer's, or the last norm's, fused operators: the slope between two
    numbers of tokens.
    """
    found = []
    compile_fx.inductor_metrics_log.setLevel(logging.INFO)  # else the compiler does not count
    compile_fx.inductor_metrics_log.propagate = False
    for rows in (32, 64):
        torch._dynamo.reset()
        metrics.reset()
        model = model_of(name, 1, "cpu")
        number_attention(model.layers[0])
        part = compiled_parts(model)[number]
        part.forward = torch.compile(part.forward, dynamic=False, options=OPTIONS)
        with config.patch({"force_disable_caches": True}):
            tree = plant([(3,)])
            batch = pack_trunks([Trunk([5] * 15, 0, 15)] * rows, tree, 0)
            trees.run(model, batch, [1], lambda *_: None)
        fused = [(node, moved) for node, moved in metrics.nodes_num_elem if not node.is_extern()]
        assert fused, "torch's compiler gave no counts; see torch._inductor.compile_fx"
        found.append((4 * sum(moved for _, moved in fused), len(fused)))
    (few, kernels), (many, _) = found
    return (many - few) / (32 * 16), kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results = []
    for name in SHAPES:
        counts = [(LAYERS[name], *fused_part(name, 0)), (1, *fused_part(name, -1))]  # the layers, the norm
        nodes = len(plant(SUFFIXES, 0).ids)
        weights = sum(
            w.numel() for key, w in model_of(name, LAYERS[name], "meta").named_parameters() if "embed" not in key
        )
        for kind, budget in (("short", 16_384), ("short", 131_072), ("long", 16_384), ("long", 131_072)):
            lengths = lengths_of(kind, budget, nodes)
            tokens = sum(lengths) + nodes * len(lengths)
            counted, padded = counted_pass(name, lengths)
            useful = 2 * weights * tokens / PEAK
            plain = counted.seconds.total()
            fused = sum(many * max(moved * padded / BYTES, kernels * LAUNCH) for many, moved, kernels in counts)
            compiled = plain - counted.seconds["layers' elementwise"] + fused
            row = {
                "model": name, "texts": kind, "tokens": tokens, "share_plain": useful / plain,
                "share_compiled": useful / compiled, "bar": BARS[name], "kernels_plain": counted.kernels.total(),
                "kernels_compiled": counted.kernels.total()
                - counted.kernels["layers' elementwise"] + sum(many * kernels for many, _, kernels in counts),
                "compiled_seconds": {**{k: v for k, v in counted.seconds.items()}, "layers' elementwise": fused},
            }  # fmt: skip
            results.append(row)
            parts = ", ".join(f"{key} {value / compiled:.0%}" for key, value in row["compiled_seconds"].items())
            print(
                f"{name} {kind} {tokens:,} tokens: {row['share_plain']:.0%} -> {row['share_compiled']:.0%} of the peak "
                f"(bar {BARS[name]:.0%}), kernels {row['kernels_plain']} -> {row['kernels_compiled']}; {parts}",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
