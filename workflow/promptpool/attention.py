"""Where the last token looks: its attention over the prompted text, by layer and by span.

SDPA gives no weights, so this stage alone loads the model with eager attention. The paper's claim is about the last
token, because that is the token whose state becomes the embedding.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .artifacts import atomic_path, write_sidecar
from .config_adapters import split_adapter_id
from .errors import PromptpoolError
from .templates import Composer, Template

SPANS = ("sink", "prefix", "text", "suffix", "last")
CHECKPOINT = ["model", "adapter", "step", "prompt", "layer"]
# Eager attention casts its float32 softmax back to the model's dtype, and a row's sum keeps that rounding.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 1e-2, torch.float16: 1e-2}


def measure_attention(
    backbone, template: Template, texts: Sequence[str], layers: Sequence[int], max_text_tokens: int
) -> pd.DataFrame:
    """The last token's attention row, averaged over heads, one row a token.

    backbone: `.model` (no LM head, eval mode, eager attention), `.tokenizer`, `.device`; layers: 0 is the first
    attention layer and -1 the last; max_text_tokens: where a text is cut (a prompt never is).
    Returns columns text_id (int), layer (int, as requested), position (int, from 0), token (str), span (bos, prefix,
    text, suffix), weight (float32; sums to 1 over a text and layer), sink (bool: the first token).
    Raises PromptpoolError for a layer that is not there, a text without a token, a model that returns no weights, or
    weights that are not causal or do not sum to one.
    """
    composer = Composer(backbone.tokenizer, max_text_tokens)
    rows = []
    for text_id, text in enumerate(texts):
        composed = composer.compose(template, text)
        if not composed.ids:
            raise PromptpoolError(f"attention: text {text_id} is empty under prompt {template.name!r}; leave it out")
        tokens = [backbone.tokenizer.decode([token]) for token in composed.ids]
        for layer, weights in zip(layers, _head_means(backbone, composed.ids, layers), strict=True):
            rows.append(
                pd.DataFrame(
                    {
                        "text_id": text_id,
                        "layer": layer,
                        "position": np.arange(len(tokens)),
                        "token": tokens,
                        "span": composed.spans(),
                        "weight": weights,
                        "sink": np.arange(len(tokens)) == 0,
                    }
                )
            )
    if not rows:
        raise PromptpoolError("attention: no text or no layer to measure; name at least one of each")
    return pd.concat(rows, ignore_index=True)


def _head_means(backbone, ids: Sequence[int], layers: Sequence[int]) -> Iterator[np.ndarray]:
    """For each layer, the last token's head-mean weights: [tokens] float32, checked."""
    # One unpadded text at a time: the stage reads tens of texts, and a padded row would need a second check.
    batch = torch.tensor([list(ids)], device=backbone.device)
    with torch.inference_mode():
        output = backbone.model(
            input_ids=batch, attention_mask=torch.ones_like(batch), output_attentions=True, use_cache=False
        )
    # Hybrid models return None for layers without attention; those are not counted.
    stack = [weights for weights in (output.attentions or ()) if weights is not None]
    if not stack:
        raise PromptpoolError("attention: the model returned no weights; load it with attention='eager'")
    for layer in layers:
        if not -len(stack) <= layer < len(stack):
            raise PromptpoolError(f"attention.layers: no layer {layer}; the model has {len(stack)} attention layers")
        weights = stack[layer][0]
        check_attention(weights, f"layer {layer}")
        row = weights[:, -1].double().mean(0)
        yield (row / row.sum()).float().cpu().numpy()


def check_attention(weights: Tensor, where: str) -> None:
    """Raises PromptpoolError unless weights [heads, tokens, tokens] are causal and their rows sum to one."""
    above = float(weights.triu(1).abs().max())
    if not above <= 1e-6:
        raise PromptpoolError(f"attention: {where}: a token looks ahead (weight {above:.2g}); the causal mask is lost")
    error = float((weights.double().sum(-1) - 1).abs().max())
    if not error <= TOLERANCE.get(weights.dtype, 1e-3):
        raise PromptpoolError(f"attention: {where}: a row's weights miss 1 by {error:.2g}; these are no probabilities")


def run_attention(
    out: str | Path,
    *,
    model: str,
    revision: str | None,
    adapter: str | Path | None,
    adapter_id: str,
    model_name: str,
    prompt_name: str,
    template: str,
    texts: Sequence[str],
    sentence: str,
    layers: Sequence[int],
    max_text_tokens: int,
    device: str = "auto",
) -> None:
    """Measures `[sentence] + texts` for one checkpoint and prompt; writes a parquet and its sidecar.

    out: the parquet; model: a path or hub id; adapter: LoRA weights, None for none; adapter_id: `base` or `name@step`;
    template: the prompt, with one `{text}`. Beside measure_attention's columns the table has model, adapter (the name
    alone), step (int, 0 for base), prompt and text; text_id 0 is the sentence. Raises PromptpoolError as above.
    """
    from .backbone import load_backbone

    started = time.time()
    name, step = split_adapter_id(adapter_id)
    backbone = load_backbone(model, revision, adapter, device=device, attention="eager")
    measured = [sentence, *texts]
    table = measure_attention(backbone, Template.parse(prompt_name, template), measured, layers, max_text_tokens)
    table = table.assign(model=model_name, adapter=name, step=step, prompt=prompt_name)
    table["text"] = table["text_id"].map(dict(enumerate(measured)))
    with atomic_path(out) as temporary:
        table.to_parquet(temporary, index=False)
    spec = {"model": model, "revision": revision, "adapter": adapter_id, "prompt": template, "layers": list(layers)}
    write_sidecar(
        out,
        inputs=[path for path in (model, adapter) if path and Path(path).exists()],
        spec={**spec, "texts": len(measured), "max_text_tokens": max_text_tokens},
        started=started,
        device=str(backbone.device),
        dtype=str(next(backbone.model.parameters()).dtype),
    )


def span_shares(table: pd.DataFrame, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean share of the last token's attention by checkpoint and span, with bootstrap intervals over texts.

    table: one or more of run_attention's. Spans: sink (the first token), prefix, text, suffix, and last (the token
    itself, when it is not the sink); special tokens after the first count as prefix. The chosen sentence (text_id 0)
    is left out wherever other texts were measured: it is an example, not a draw.
    Returns model, adapter, step, prompt, layer, span, share, low, high (95 %), n (texts). With one text the interval
    is not known: low and high are NaN.
    """
    table = table.assign(bucket=table["span"].where(table["span"] != "bos", "prefix"))
    ends = table.groupby([*CHECKPOINT, "text_id"])["position"].transform("max")
    table.loc[table["position"] == ends, "bucket"] = "last"
    table.loc[table["sink"], "bucket"] = "sink"
    rows = []
    for key, group in table.groupby(CHECKPOINT, sort=True):
        shares = group.pivot_table(index="text_id", columns="bucket", values="weight", aggfunc="sum")
        shares = shares.astype("float64").reindex(columns=list(SPANS)).fillna(0.0)
        if len(shares) > 1:
            shares = shares.drop(index=0, errors="ignore")
        # The same seed everywhere: checkpoints that read the same texts are resampled alike.
        picks = np.random.default_rng(seed).integers(len(shares), size=(resamples, len(shares)))
        means = shares.to_numpy()[picks].mean(1)
        low, high = np.quantile(means, [0.025, 0.975], axis=0) if len(shares) > 1 else np.full((2, len(SPANS)), np.nan)
        for position, span in enumerate(SPANS):
            values = (span, shares[span].mean(), low[position], high[position], len(shares))
            rows.append((*key, *values))
    return pd.DataFrame(rows, columns=[*CHECKPOINT, "span", "share", "low", "high", "n"])
