"""The stage that trains the demo's base model and writes its card."""

import math
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from ..artifacts.files import atomic_path, file_digest, package_versions, text_digest, write_json
from ..data.docstrings import corpus_versions
from ..errors import PromptpoolError
from .pretraining import continuations, new_model, pretrain, token_stream, train_tokenizer

UNSEEN = "The evaluation tasks' texts (split `task`) were not read."
MAX_PARAMETERS = 8_000_000
SAMPLES = (
    "Return the shortest path between two nodes in a graph.",
    "Compute the eigenvalues of a symmetric matrix.",
    "Read a table from a file",
)


def train_base_model(corpus: str, out: str, spec: Mapping, log: str) -> None:
    """Trains a Qwen3-architecture LM on the corpus's `train` rows; held-out loss on its `heldout` rows.

    corpus: parquet of `docstrings.read_docstrings`; out: directory of bf16 safetensors, tokenizer, README.md
    (the model card) and training.json. Rows of split `task` are never read: the tasks' texts stay unseen.
    """
    table = pd.read_parquet(corpus)
    table = table.iloc[table["text"].map(text_digest).argsort()]
    parts = {split: rows["text"].tolist() for split, rows in table.groupby("split")}
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with open(log, "a", encoding="utf-8") as handle:

        def say(line: str) -> None:
            print(line, file=handle, flush=True)
            print(line, flush=True)

        tokenizer = train_tokenizer(parts["train"], spec["vocabulary"])
        ids, heldout = (token_stream(tokenizer, parts[split]) for split in ("train", "heldout"))
        model = new_model(spec, spec["vocabulary"])
        parameters = sum(p.numel() for p in model.parameters())
        if parameters > MAX_PARAMETERS:
            raise PromptpoolError(
                f"config: base_model: {parameters:,} parameters, at most {MAX_PARAMETERS:,}; lower width or layers"
            )
        say(f"{parameters:,} parameters, {len(ids):,} training tokens, {len(heldout):,} held out")
        scratch = Path(out).with_name(Path(out).name + ".state.pt")
        facts = pretrain(model, ids, heldout, spec, scratch, say)
        facts |= {
            "parameters": parameters,
            "corpus_digest": file_digest(corpus),
            "corpus_versions": corpus_versions(table["package"].unique()),
            "packages": package_versions(("torch", "transformers", "tokenizers")),
            "hardware": f"{facts['device']} ({os.cpu_count()} cores, {platform.machine()})",
            "perplexity": round(math.exp(facts["heldout_loss"]), 2),
            "wall_seconds": round(time.time() - started),
            "spec": dict(spec),
        }
        model.to("cpu", torch.bfloat16)
        facts["samples"] = dict(zip(SAMPLES, continuations(model.float(), tokenizer, SAMPLES), strict=True))
        with atomic_path(out) as temporary:
            temporary.mkdir()
            model.to(torch.bfloat16).save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            write_json(temporary / "training.json", facts)
            (temporary / "README.md").write_text(base_model_card(facts), encoding="utf-8")
        scratch.unlink(missing_ok=True)
        say(f"held-out loss {facts['heldout_loss']:.3f}, perplexity {facts['perplexity']}")


def base_model_card(facts: Mapping) -> str:
    """README.md of the base model, from the figures that its training recorded."""
    spec = facts["spec"]
    samples = "\n".join(f"> {prompt}\n>\n> *{_line(text)}*\n" for prompt, text in facts["samples"].items())
    versions = ", ".join(f"{name} {version}" for name, version in facts["corpus_versions"].items())
    return f"""---
library_name: transformers
license: mit
pipeline_tag: text-generation
---
# nano-docs: the demo's base model

A decoder-only language model (`Qwen3ForCausalLM`) of {facts["parameters"]:,} parameters: width {spec["width"]},
{spec["layers"]} layers, {spec["heads"]} heads / {spec["kv_heads"]} KV heads, tied embeddings, byte-level BPE of
{spec["vocabulary"]:,}.
It writes and reads Python docstrings; it follows no instructions and knows nothing else.

| | |
| --- | --- |
| corpus | docstrings of installed packages (rows of split `train`), SHA-256 `{facts["corpus_digest"]}` |
| tokens in corpus / seen | {facts["tokens_in_corpus"]:,} / {facts["tokens_seen"]:,} |
| held-out loss / perplexity | {facts["heldout_loss"]:.3f} nats a token / {facts["perplexity"]} |
| training loss | {facts["training_loss"]:.3f} (running mean) |
| command | `make base-model` |
| seconds of training / in all | {facts["seconds"]:,} / {facts["wall_seconds"]:,} |
| hardware | {facts["hardware"]} |
| optimizers | Muon {spec["muon_lr"]} on matrices, AdamW {spec["adam_lr"]} on the rest, fp32 |
| batch | {spec["batch"]} x {spec["sequence"]} tokens |

{facts.get("note", UNSEEN)}

Corpus versions: {versions}.

Sample continuations (greedy, repetition penalty 1.3, 48 tokens):

{samples}

Licence: MIT for the weights; the docstrings they learnt from carry their packages' own open-source licences.
"""


def _line(text: str) -> str:
    """A sample on one line, safe in Markdown."""
    return " ".join(text.split()).replace("*", r"\*").replace("_", r"\_") or "(nothing)"
