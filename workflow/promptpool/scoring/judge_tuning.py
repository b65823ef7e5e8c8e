"""The verdict without labels: whether tuning helps texts find their partners among held-out pairs.

The pairs are those that `training.validation` holds out of each training, at most 1,000. Nothing is chosen by their
result: the adapter, its last step, its prompt, its pooling and its layer are the config's.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import atomic_path, write_json, write_sidecar, write_table
from ..artifacts.parts import listed_file
from ..models.checkpoint import Checkpoint
from ..templates import ROLE_OF_SIDE, ROLES, by_role
from ..variants import BASE, LAST_LAYER, Layer
from .pair_retrieval import by_words, cosine_likeness, distinct_pairs, found_partners, own_copies
from .verdict import DECIDES, TUNED, UNKNOWN, UNTUNED, advice_of, compare_searches, headline_of, verdict_of

LEAST_OF_A_SEED = 2  # pairs of a seed, below which there is nothing to find
HELD_OUT = "held-out"  # the folder of vectors, in the place of a task's
CAVEAT = (
    "These pairs ({}) come from the same texts, and were made in the same way, as those it was trained on: expect less "
    "on other texts."
)


@dataclass(frozen=True)
class Judged:
    """What is judged: one adapter of the config after its last step.

    adapter, model: names in the config; step: its last one; seeds: seed -> its training's directory, empty if no pair
    is held out; prompt, template, pooling, layer: the adapter's own (template: of each role, if the prompt is one of
    `roles`: the texts are queries, the positives documents); sets: its sets of pairs, name -> (parquet, what the config
    says of how they were made); recipe: what defines the training (`validation` and what the advice quotes).
    """

    adapter: str
    model: str
    step: int
    seeds: Mapping[int, str]
    prompt: str
    template: str | Mapping[str, str]
    pooling: str
    sets: Mapping[str, tuple[str, Mapping]]
    recipe: Mapping
    layer: Layer = LAST_LAYER


def judge_tuning(
    out: str,
    text: str,
    *,
    judged: Judged,
    checkpoint: Checkpoint,
    grid: Mapping,
    fuse: bool | None = None,
    embedding_code: str = "",
) -> None:
    """Writes the verdict as JSON to `out`, and as lines to read to `text`: the verdict, its caveat, advice.

    checkpoint: the untuned model; grid: how the study embeds, without poolings and layers (`parallel_embedder.Grid`).
    The vectors of each checkpoint are in a folder beside `out` (`base`, and each training's name), with a manifest
    vectors.json, and are kept while nothing changes that they depend on (`embed_checkpoint`). The pairs are there too,
    in pairs.parquet. Without held-out pairs the verdict is UNKNOWN, and no model is loaded.
    """
    started = time.time()
    folder = Path(out).parent / "verdict"
    about = described(judged)
    if not judged.seeds:
        write_verdict(out, text, {**about, **without_pairs(judged)}, [], started)
        return
    held, counts = held_out(judged)
    read = [path for path, _ in judged.sets.values()]
    write_table(folder / "pairs.parquet", held, inputs=read, started=started, manifest=out)
    if held["seed"].value_counts().reindex(list(judged.seeds), fill_value=0).min() < LEAST_OF_A_SEED:
        write_verdict(out, text, {**about, **without_pairs(judged, len(held))}, read, started)
        return
    searches: dict[str, dict] = {TUNED: {}, UNTUNED: {}}
    vectors = {}
    places = {BASE: (held, checkpoint)}
    for seed, training in judged.seeds.items():
        own = replace(checkpoint, adapter=f"{training}/step-{judged.step}")
        places[Path(training).name] = (held[held["seed"] == seed], own)
    manifests = {name: str(folder / name / "vectors.json") for name in places}
    for name, (rows, one) in places.items():
        vectors[name] = embedded(manifests[name], rows, one, judged, grid, fuse, embedding_code)
    for seed, training in judged.seeds.items():
        rows = held[held["seed"] == seed]
        copies = own_copies(rows)
        for search, name in ((TUNED, Path(training).name), (UNTUNED, BASE)):
            own = vectors[name]
            sides = (np.stack([own[role][text] for text in rows[side]]) for side, role in ROLE_OF_SIDE.items())
            searches[search][seed] = found_partners(cosine_likeness(*sides), copies)
        for search, likeness in by_words(rows).items():
            searches.setdefault(search, {})[seed] = found_partners(likeness, copies)
    read += manifests.values()
    write_verdict(out, text, {**about, **outcome(searches, judged, held, counts)}, read, started)


def described(judged: Judged) -> dict:
    """What was judged and on which kind of pairs, whatever comes out."""
    return {
        "checkpoint": {"model": judged.model, "adapter": judged.adapter, "step": judged.step},
        "prompt": {"name": judged.prompt, "template": judged.template},
        "pooling": judged.pooling,
        "layer": judged.layer,
        "pairs": {"sets": {name: dict(how) for name, (_, how) in judged.sets.items()}},
        "caveat": CAVEAT.format(kinds(judged)),
        "decides": DECIDES,
    }


def kinds(judged: Judged) -> str:
    """What the pairs are, in words: `halves; detail, simple, written by qwen3-0.6b`."""
    sets = [
        ", ".join([*how["styles"], *([f"written by {how['model']}"] if how["model"] else [])])
        for _, how in judged.sets.values()
    ]
    return "; ".join(dict.fromkeys(sets))


def without_pairs(judged: Judged, n: int = 0) -> dict:
    """The rest of a verdict where no pair is held out, or only n that can be looked for."""
    name = judged.adapter
    if judged.seeds:
        line = f"Not known: of the pairs held out of adapter {name}, {n} differ from their texts; take other styles."
    else:
        line = f"Not known: no pair is held out of adapter {name}; set adapters.{name}.validation to 0.1 and run again."
    return {"verdict": UNKNOWN, "line": line, "advice": [], "n": n, "measures": {}}


def held_out(judged: Judged) -> tuple[pd.DataFrame, dict[int, int]]:
    """(the pairs that each seed's training did not see: seed, text, positive, style, source_id, as training splits
    them; seed -> how many it was trained on). Pairs that can't be looked for are left out (`distinct_pairs`).
    """
    from ..training.validation import hold_out

    table = pd.concat([pd.read_parquet(path) for path, _ in judged.sets.values()], ignore_index=True)
    parts, counts = [], {}
    for seed in judged.seeds:
        kept, held = hold_out(table, judged.recipe["validation"], seed)
        counts[seed] = len(kept)
        parts.append(distinct_pairs(held).assign(seed=seed))
    return pd.concat(parts, ignore_index=True)[["seed", "text", "positive", "style", "source_id"]], counts


def embedded(
    manifest: str,
    pairs: pd.DataFrame,
    checkpoint: Checkpoint,
    judged: Judged,
    grid: Mapping,
    fuse: bool | None,
    code: str,
) -> dict[str, dict[str, np.ndarray]]:
    """Role -> text -> its vector under one checkpoint, of every text of the pairs. The files are beside the manifest.

    One prompt has one file. Roles have one each, of all texts: some texts may be on both sides.
    """
    from ..embedding.embed_checkpoint import embed_checkpoint
    from ..embedding.parallel_embedder import Grid
    from ..embedding.vector_file import read_vectors

    file = str(Path(manifest).parent / "texts.parquet")
    texts = pd.DataFrame({"text": pd.unique(pairs[["text", "positive"]].to_numpy().ravel())})
    write_table(file, texts, manifest=manifest)
    one = isinstance(judged.template, str)
    names = {role: (HELD_OUT, judged.prompt) if one else (role, f"{judged.prompt}.{role}") for role in ROLES}
    templates = by_role(judged.template)
    embed_checkpoint(
        manifest,
        texts={HELD_OUT: file},
        families={family: {prompt: templates[role]} for role, (family, prompt) in names.items()},
        checkpoint=checkpoint,
        grid=Grid(poolings=[judged.pooling], layers=[judged.layer], **grid),
        fuse=fuse,
        code=code,
    )
    found = {}
    for role, (family, prompt) in names.items():
        matrix = read_vectors(listed_file(manifest, f"{HELD_OUT}/{family}.safetensors"))
        found[role] = dict(zip(texts["text"], matrix[prompt, judged.pooling, judged.layer], strict=True))
    return found


def outcome(searches: Mapping, judged: Judged, held: pd.DataFrame, counts: Mapping[int, int]) -> dict:
    """The rest of a verdict from what each search found."""
    n, recipe = len(held), judged.recipe
    compared = compare_searches(searches)
    verdict = verdict_of(compared, n)
    first = next(iter(judged.seeds.values()))
    about = {
        "adapter": judged.adapter,
        "step": judged.step,
        "pairs": n,
        "trained_on": min(counts.values()),
        "passes": judged.step * recipe["batch_size"] / max(1, min(counts.values())),
        "best_step": json.loads(Path(first, "best_step.json").read_text(encoding="utf-8")).get("best_step"),
        "learning_rate": recipe["learning_rate"],
    }
    return {
        "verdict": verdict,
        "line": headline_of(verdict, compared, n),
        "advice": advice_of(verdict, compared, about),
        "n": n,
        "seeds": {str(seed): int((held["seed"] == seed).sum()) for seed in judged.seeds},
        "styles": {style: int(count) for style, count in held["style"].value_counts().sort_index().items()},
        "trained_on": {str(seed): count for seed, count in counts.items()},
        "measures": compared,
    }


def write_verdict(out: str, text: str, content: Mapping, inputs: Sequence[str], started: float) -> None:
    """Both files, with their sidecars."""
    lines = [content["line"], *([content["caveat"]] if content["measures"] else []), *content["advice"]]
    write_json(out, content)
    with atomic_path(text) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for path in (out, text):
        write_sidecar(path, inputs=inputs, spec=content["checkpoint"], started=started)
