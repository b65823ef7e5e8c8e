"""The export stage: one variant as a directory that plain sentence-transformers loads, proved equal."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer

from .artifacts import atomic_path, write_json, write_sidecar
from .backbone import merged
from .config_adapters import split_adapter_id
from .embedder import Embedder
from .errors import PromptpoolError
from .sentence_model import sentence_model
from .templates import Template

PARITY = 0.9999
PARITY_TEXTS = 100


def export_model(
    out: str,
    *,
    name: str,
    spec: Mapping,
    model: str,
    revision: str | None,
    adapter: str | None,
    template: str,
    headline: str,
    pairs: Mapping[str, Mapping],
    recipe: Mapping | None,
    licence: str | None = None,
) -> None:
    """Writes models/{export}/: weights, tokenizer, modules, README.md (the model card), promptpool.json.

    The prompt is in the tokenizer's post-processor and the adapter is merged, so that
    `SentenceTransformer(path)` needs neither code nor prompts.
    """
    started = time.time()
    parsed = Template.parse(spec["prompt"], template)
    built = sentence_model(
        model,
        parsed,
        spec["pooling"],
        spec["max_text_tokens"],
        revision=revision,
        normalize=spec["normalize"],
        device="cpu",
    )
    if adapter:
        built[0].model = merged(built[0].model, adapter)
    tuned_as, step = split_adapter_id(spec["adapter"])
    variant = {
        "model": spec["model"],
        "adapter": tuned_as,
        "step": step,
        "prompt": spec["prompt"],
        "pooling": spec["pooling"],
        "layer": -1,
        "template": template,
        "max_text_tokens": spec["max_text_tokens"],
        "normalize": spec["normalize"],
    }
    table = pd.read_parquet(headline)
    with atomic_path(out) as temporary:
        built.save_pretrained(str(temporary), create_model_card=False)
        _plain_tokenizer(temporary)
        write_json(temporary / "promptpool.json", variant)
        card = model_card(name, variant, model, table, pairs, recipe, built.get_embedding_dimension(), licence)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    inputs = [path for path in (adapter and str(Path(adapter) / "adapter_model.safetensors"), headline) if path]
    write_sidecar(out, inputs=inputs, spec=spec, started=started, dtype="float32")


def _plain_tokenizer(folder: Path) -> None:
    """Keeps every architecture's own tokenizer class from dropping the post-processor on load."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    content.pop("chat_template", None)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def check_parity(
    exported: str,
    texts: str,
    out: str,
    *,
    spec: Mapping,
    model: str,
    revision: str | None,
    adapter: str | None,
    template: str,
) -> None:
    """Fails unless the exported model gives the pipeline's vectors: cosine >= 0.9999 in fp32 on 100 texts.

    Writes {"texts", "lowest_cosine", "largest_difference"}. With an adapter, it must also differ from the base.
    """
    started = time.time()
    known = pd.read_parquet(texts)["text"].tolist()
    sample = sorted(known, key=len)[:: max(1, len(known) // PARITY_TEXTS)][:PARITY_TEXTS]
    with torch.inference_mode():
        theirs = SentenceTransformer(exported, device="cpu").encode(sample, show_progress_bar=False)
    options = {"revision": revision, "device": "cpu", "dtype": "float32", "max_text_tokens": spec["max_text_tokens"]}

    def ours(path: str | None) -> np.ndarray:
        rows = Embedder.load(model, path, **options).encode(sample, template, spec["pooling"])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if spec["normalize"] else rows

    mine = ours(adapter)
    lowest = float(cosines(mine, theirs).min())
    if lowest < PARITY:
        worst = sample[int(cosines(mine, theirs).argmin())]
        raise PromptpoolError(
            f"{exported}: cosine {lowest:.6f} to the pipeline's vector of {worst[:60]!r}, at least {PARITY} wanted; "
            "report it with the model's name"
        )
    if adapter and float(np.abs(mine - ours(None)).max()) < 1e-6:
        raise PromptpoolError(f"{exported}: adapter {spec['adapter']} changes nothing; train it longer")
    facts = {"texts": len(sample), "lowest_cosine": lowest, "largest_difference": float(np.abs(mine - theirs).max())}
    write_json(out, facts)
    write_sidecar(out, inputs=[texts], spec=spec, started=started)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity row by row, float64 [n]."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def model_card(
    name: str,
    variant: Mapping,
    base: str,
    headline: pd.DataFrame,
    pairs: Mapping[str, Mapping],
    recipe: Mapping | None,
    dim: int,
    licence: str | None,
) -> str:
    """README.md of an exported model: what it is, how to load it, what it scored, how it was made."""
    scores = "\n".join(
        f"| {row.row} | {100 * row.score:.1f} | {100 * row.low:.1f} to {100 * row.high:.1f} |"
        for row in headline[headline["task"] == "mean"].itertuples()
    )
    tuned = variant["adapter"] != "base"
    made = "\n".join(
        f"- pairs `{key}`: style {value['style']}, corpus {value['corpus']}" for key, value in pairs.items()
    )
    recipe_lines = "\n".join(f"- {key}: {value}" for key, value in sorted((recipe or {}).items()))
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, promptpool]
---
# {name}

Text embeddings of {dim} dimensions from `{Path(base).name if Path(base).is_dir() else base}`, {
        f"adapter `{variant['adapter']}` at step {variant['step']}" if tuned else "untuned"
    }, {variant["pooling"]} pooling{", length 1" if variant["normalize"] else ""}.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
vectors = model.encode(["a text"])
```

The prompt is part of the tokenizer and is added by itself: `{variant["template"]}`. Texts are cut at
{variant["max_text_tokens"]} tokens; the prompt never is.

Licence: that of the base model{f" ({licence})" if licence else ""}.

## Scores

V-measure x 100 on the run's clustering tasks, mean over tasks, 95 % interval.

| | score | interval |
| --- | --- | --- |
{scores}

## Made with

{made or "- no training pairs"}
{recipe_lines}
"""
