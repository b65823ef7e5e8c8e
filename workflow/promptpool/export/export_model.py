"""The export stage: one variant as a directory that plain sentence-transformers loads."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, PreTrainedConfig

from ..analysis.score_table import measures
from ..artifacts.files import atomic_path, file_digest, text_digest, write_json, write_sidecar
from ..errors import PromptpoolError
from ..hub.safe_loading import NO_CODE
from ..models.backbone import merged
from ..models.checkpoint import Checkpoint
from ..models.decoder import decoder_layers, loads_alone, text_part
from ..models.first_layers import keep_layers
from ..models.precision import EXACT, exact, in_words, processor
from ..models.sentence_model import sentence_model
from ..statistics.samples import read_facts
from ..templates import parsed
from ..variants import BASE, layer_number, split_adapter_id
from .base_licence import base_licence
from .contents import write_contents
from .hub_results import hub_results
from .materials import materials
from .model_card import Card, model_card
from .readout_modules import Fitted, readout_modules
from .role_modules import own_length, save_router
from .saved_layout import plain_modules, round_weights, save_model, save_modules, save_tokenizer

LEAST_DIFFERENCE = 1e-6  # vectors of length 1 that differ by less count as the same
PROBES = ("the river froze early that winter", "return the shortest path between two nodes", "42", "Naïve? Never!")


@dataclass(frozen=True)
class Training:
    """What the card says about an adapter's training; empty for the base.

    pairs: its pair sets by name, each with the settings that it was written with; qc: their qc.json, in that order;
    recipe: the adapter's own settings; corpora: the files of the corpora that the pairs are from.
    """

    pairs: Mapping[str, Mapping] = field(default_factory=dict)
    qc: Sequence[str] = ()
    recipe: Mapping | None = None
    corpora: Sequence[str] = ()


def export_model(
    out: str,
    *,
    name: str,
    spec: Mapping,
    checkpoint: Checkpoint,
    template: str | Mapping[str, str],
    headline: str,
    facts: Sequence[str],
    training: Training,
    readout: Fitted | None = None,
    results: Sequence[str] = (),
    long_texts: Mapping[str, Mapping] | None = None,
) -> None:
    """Writes models/{export}/: weights or adapter, tokenizer, modules, README.md (the model card), promptpool.json,
    and contents.json, which lists the files and what went in.

    The prompt is in the tokenizer's post-processor, so `SentenceTransformer(path)` needs neither code nor prompts.
    template: by role, if the prompt is one of `roles` (see role_modules). spec: one entry of `exports:`. headline:
    summary.parquet, for the card's scores. facts: the tasks' facts.json, which give each task's type. readout: what the
    vectors are read by, if not by a pooling as it comes. results: the manifests that list MTEB's results of the
    checkpoint, for the card's head. long_texts: of tasks that were scored in chunks (chunk_notes). Raises
    PromptpoolError, before anything is written, for an adapter that is damaged, zero or without effect, and for a text
    limit beyond the model's.
    """
    started = time.time()
    model, revision, adapter = checkpoint.model, checkpoint.revision, checkpoint.adapter
    prompt = parsed(spec["prompt"], template)
    require_whole_text_model(AutoConfig.from_pretrained(model, revision=revision, **NO_CODE), model, spec, name)
    pooling = readout.poolings[0] if readout else spec["pooling"]
    built = sentence_model(
        model, prompt, pooling, spec["max_text_tokens"], revision=revision, normalize=spec["normalize"],
        device="cpu", causal=checkpoint.causal,
    )  # fmt: skip
    transformer = built[0]
    require_room(transformer, spec["max_text_tokens"], name)
    if adapter:
        before = probe(built)
        rounded = getattr(torch, spec["dtype"]) if spec["merged"] else torch.float32
        transformer.model, _ = merged(transformer.model, adapter, rounded)
        require_effect(built, before, spec, name)
    beside = bool(adapter) and not spec["merged"]
    depth = len(decoder_layers(transformer.model))
    parts = [(part["pooling"], part["layer"]) for part in readout.parts] if readout else [(pooling, spec["layer"])]
    numbers = [layer_number(layer, depth) for _, layer in parts]
    if max(numbers) < depth:
        keep_layers(transformer.model, max(numbers) + 1)
    if min(numbers) < depth:
        transformer.model.config.output_hidden_states = True
    width, saved = transformer.get_embedding_dimension(), min(max(numbers) + 1, depth)
    if readout:
        read = [(name, number) for (name, _), number in zip(parts, numbers, strict=True)]
        modules = readout_modules(width, read, saved, readout.dense(spec["prompt"]))
        dim = modules[-1][1]["out_features"]
    else:
        modules = plain_modules(width, pooling, numbers[0] if numbers[0] < depth else None)
        dim = built.get_embedding_dimension()
    cut = spec.get("truncate_dim")
    if cut and cut >= dim:
        raise PromptpoolError(f"exports.{name}.truncate_dim: its vectors have {dim} dimensions; give fewer than {dim}")
    variant, known = variant_of(spec, template), read_facts(facts)
    if cut:
        variant["truncate_dim"] = cut
    if not checkpoint.causal:
        variant["causal"] = False
    if readout:
        variant |= readout.facts(spec["prompt"])
    if long_texts:
        variant["long_texts"] = dict(long_texts)
    base = base_facts(model, revision)
    known_of = materials(name, base, variant, adapter, training)
    card = Card(
        name=name,
        variant=variant,
        base=base,
        corpora=known_of["made_from"]["corpora"],
        merged=not beside,
        dtype=spec["dtype"],
        dim=cut or dim,
        scores=scores_of(name, pd.read_parquet(headline)),
        tasks={task: fact["type"] for task, fact in known.items()},
        measure=measures(known),
        data=data_of(training),
        recipe=training.recipe,
        results=hub_results(results, spec, known.values()),
    )
    with atomic_path(out) as temporary:
        temporary.mkdir()
        if beside:
            copy_adapter(temporary, adapter, model, revision)
        else:
            save_model(temporary, transformer.model, spec["dtype"])
        front = save_router(temporary, transformer) if isinstance(prompt, dict) else []
        save_tokenizer(temporary, transformer.tokenizer, most := own_length(transformer))
        settings = {"max_tokens": most, "normalize": spec["normalize"], "truncate_dim": cut}
        save_modules(temporary, modules, before=front, **settings)
        write_json(temporary / "promptpool.json", variant)
        (temporary / "README.md").write_text(model_card(card), encoding="utf-8")
        write_contents(temporary, known_of)
    weights = [str(Path(adapter) / "adapter_model.safetensors")] if adapter else []
    inputs = [
        *weights,
        headline,
        *facts,
        *training.qc,
        *training.corpora,
        *results,
        *([readout.statistics] if readout else []),
    ]
    write_sidecar(
        out,
        inputs=inputs,
        spec=spec,
        started=started,
        dtype=spec["dtype"],
        precision=in_words(EXACT),  # the adapter's effect was measured in this precision
        processor=processor(torch.device("cpu")),
    )


def variant_of(spec: Mapping, template: str | Mapping[str, str]) -> dict:
    """The content of promptpool.json: which variant this is, and what its tokenizer puts around a text."""
    adapter, step = split_adapter_id(spec["adapter"])
    return {
        "model": spec["model"],
        "adapter": adapter,
        "step": step,
        "prompt": spec["prompt"],
        "pooling": spec["pooling"],
        "layer": spec["layer"],
        "template": template,
        "max_text_tokens": spec["max_text_tokens"],
        "normalize": spec["normalize"],
    }


def require_whole_text_model(config: PreTrainedConfig, model: str, spec: Mapping, name: str) -> None:
    """Raises PromptpoolError where an export of a text decoder alone, taken out of a larger model, could not load."""
    text = text_part(config)
    if not loads_alone(config):
        raise PromptpoolError(
            f"exports.{name}: transformers does not load {text.model_type}, the text decoder of {model}, by itself, so "
            "no export of it would; take this entry out"
        )
    if text is not config and spec["adapter"] != BASE and not spec["merged"]:
        raise PromptpoolError(
            f"exports.{name}.merged: false keeps the base as it is, and {model} is more than its text decoder; write "
            "true"
        )


def require_room(transformer: torch.nn.Module, max_text_tokens: int, name: str) -> None:
    """A model that can't read such a long text would fail on the first one, or truncate its prompt."""
    most = getattr(transformer.model.config.get_text_config(), "max_position_embeddings", None)
    if most and 0 < most < transformer.max_seq_length:
        prompt = transformer.max_seq_length - max_text_tokens
        raise PromptpoolError(
            f"exports.{name}.max_text_tokens: {max_text_tokens} and the prompt's {prompt} are more tokens than the "
            f"model's {most}; give at most {most - prompt}"
        )


def probe(built: SentenceTransformer) -> np.ndarray:
    """Vectors of a few fixed texts, each of length 1."""
    with torch.inference_mode(), exact(built.device):
        rows = built.encode(list(PROBES), show_progress_bar=False, convert_to_numpy=False)
    rows = torch.stack([row.float() for row in rows]).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def require_effect(built: SentenceTransformer, before: np.ndarray, spec: Mapping, name: str) -> None:
    """The merged model must differ from its base by more than the rounding of its weights, which is done in place."""
    tuned = probe(built)
    effect = np.abs(tuned - before).max()
    if effect < LEAST_DIFFERENCE:
        raise PromptpoolError(f"exports.{name}: adapter {spec['adapter']} changes nothing; train it longer")
    if spec["dtype"] != "float32":
        round_weights(built[0].model, spec["dtype"])
        rounded = np.abs(probe(built) - tuned).max()
        if rounded > effect:
            raise PromptpoolError(
                f"exports.{name}.dtype: rounding to {spec['dtype']} changes vectors by {rounded:.1e}, adapter "
                f"{spec['adapter']} by {effect:.1e}; write float32, or merged: false"
            )


def copy_adapter(folder: Path, adapter: str, model: str, revision: str | None) -> None:
    """Copies the adapter's two files. They name the base by a hub id with its revision, or by a full path."""
    local = Path(model).is_dir()
    shutil.copyfile(Path(adapter) / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    content = json.loads(Path(adapter, "adapter_config.json").read_text(encoding="utf-8"))
    content |= {
        "base_model_name_or_path": str(Path(model).resolve()) if local else model,
        "revision": None if local else revision,
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", content)


def base_facts(model: str, revision: str | None) -> dict:
    """The base as the card names it: a directory by its name and weights, never by a path on this machine."""
    licence = base_licence(model, revision)
    if Path(model).is_dir():
        files = [path for kind in ("config.json", "*.safetensors", "*.bin") for path in sorted(Path(model).glob(kind))]
        weights = text_digest("\0".join(map(file_digest, files)))
        return {"id": Path(model).resolve().name, "hub": False, "revision": weights, "licence": licence}
    return {"id": model, "hub": True, "revision": revision, "licence": licence}


def data_of(training: Training) -> list[dict]:
    """A row for each style of each pair set: set, corpus, style, and number of pairs."""
    counts = [json.loads(Path(path).read_text(encoding="utf-8")) for path in training.qc]
    return [
        {"set": name, "corpus": spec["corpus"], "style": style, "count": found["accepted"]}
        for (name, spec), counted in zip(training.pairs.items(), counts, strict=True)
        for style, found in sorted(counted["styles"].items())
    ]


def scores_of(name: str, headline: pd.DataFrame) -> pd.DataFrame:
    """This export's rows (what, score, low, high; `difference` marks gains), then the floors'. Empty if not scored."""
    means, single = headline[headline["task"] == "mean"], headline[headline["task"] != "mean"]
    own = means[(means["row"] == f"export {name}") | means["row"].str.startswith(f"export {name} - ")]
    rows = [_line(row.row, row) for row in own.itertuples()]
    rows += [_line(f"on {row.task}", row) for row in single[single["row"] == f"export {name}"].itertuples()]
    if rows:
        rows += [_line(f"floor: {row.row}", row) for row in means[means["adapter"] == "baseline"].itertuples()]
    return pd.DataFrame(rows, columns=["what", "difference", "score", "low", "high"])


def _line(what: str, row) -> dict:
    return {"what": what, "difference": row.kind == "difference", "score": row.score, "low": row.low, "high": row.high}
