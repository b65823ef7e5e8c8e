"""README.md of an exported model: what it is, how to load it, its training data, and its scores."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import yaml
from huggingface_hub import EvalResult, ModelCardData

from ..analysis.synthetic import synthetic_notes
from ..templates import ROLES
from .chunk_notes import chunk_notes
from .markdown import cell, code, escaped, fenced
from .materials import datasets_of, languages_of
from .readout_modules import layer_in_words, parts_in_words


@dataclass(frozen=True)
class Card:
    """The facts of one exported model.

    variant: promptpool.json. base: `id`, `hub` (or a directory), `revision` (of a directory: its digest) and `licence`
    (see base_licence). scores: columns what, difference, score, low, high. tasks: MTEB's type of each task that the
    scores cover. measure: what a score is, in words. data: rows of set, corpus, style, count. recipe: the adapter's
    entry in the config, None for an untuned model. results: the score on each task, for the hub. corpora: those of
    contents.json.
    """

    name: str
    variant: Mapping
    base: Mapping
    merged: bool
    dtype: str
    dim: int
    scores: pd.DataFrame
    tasks: Mapping[str, str]
    measure: str
    data: Sequence[Mapping]
    recipe: Mapping | None
    results: Sequence[EvalResult] = ()
    corpora: Sequence[Mapping] = ()


def model_card(card: Card) -> str:
    """The card as Markdown with YAML front matter. Names and prompts may contain any character."""
    parts = [
        f"# {escaped(card.name)}",
        summary(card),
        facts(card),
        "## How to load\n\n" + loading(card),
        "## Prompt and limits\n\n" + limits(card),
        "## Scores\n\n" + scored(card),
        "## Training data\n\n" + data(card),
        "## Recipe\n\n" + recipe_section(card),
    ]
    return f"---\n{front_matter(card).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def front_matter(card: Card) -> ModelCardData:
    """The metadata that the hub reads. A base that is not on the hub has no link, so it is not named here."""
    tuned = card.variant["adapter"] != "base"
    return ModelCardData(
        language=languages_of(card.corpora) or None,
        datasets=datasets_of(card.corpora) or None,
        base_model=card.base["id"] if card.base["hub"] else None,
        base_model_relation=("finetune" if card.merged else "adapter") if card.base["hub"] and tuned else None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[
            "sentence-transformers",
            "feature-extraction",
            "promptpool",
            *(["lora"] if tuned else []),
            *(["mteb"] if card.results else []),
        ],
        model_name=card.name if card.results else None,
        eval_results=list(card.results) or None,
        **card.base["licence"],
    )


def summary(card: Card) -> str:
    how = "untuned"
    if card.variant["adapter"] != "base":
        how = f"tuned by contrastive LoRA (adapter {code(card.variant['adapter'])}, step {card.variant['step']})"
    return f"Text embeddings of {card.dim} dimensions from the decoder {code(card.base['id'])}, {how}."


def facts(card: Card) -> str:
    variant, base = card.variant, card.base
    layer = layer_in_words(variant["layer"])
    adapter = "none"
    if variant["adapter"] != "base":
        where = "merged into the weights" if card.merged else "beside its base model"
        adapter = f"{code(variant['adapter'])} at step {variant['step']}, {where}"
    rows = {
        "base model": code(base["id"]) + ("" if base["hub"] else ", a local directory"),
        "revision": (code(base["revision"]) if base["revision"] else "not pinned")
        if base["hub"]
        else f"SHA-256 {base['revision']}",
        "licence": licence(base["licence"]),
        "adapter": adapter,
        "prompt": code(variant["prompt"]),
        "pooling": parts_in_words(variant["parts"]) if "parts" in variant else f"{variant['pooling']}, of {layer}",
        "length of a vector": ("1" if variant["normalize"] else "as it comes")
        + (", before it is cut" if "truncate_dim" in variant else ""),
        **cut_to(variant),
        "longest text": f"{variant['max_text_tokens']} tokens",
        **fitted(variant),
        "weights": card.dtype if card.merged else "the base model's, and the adapter's",
        **({} if variant.get("causal", True) else {"attention": "each token sees the whole text"}),
    }
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {key} | {cell(value)} |" for key, value in rows.items())


def cut_to(variant: Mapping) -> dict[str, str]:
    """How many dimensions are kept, for the facts; nothing if all are."""
    if "truncate_dim" not in variant:
        return {}
    other = "`SentenceTransformer(..., truncate_dim=...)` keeps as many as you ask for"
    return {"dimensions": f"the first {variant['truncate_dim']} of a vector; {other}"}


def fitted(variant: Mapping) -> dict[str, str]:
    """What a post-processing was fitted on, for the facts; nothing without one."""
    if "parts" not in variant:
        return {}
    scale = {"corpus": "each part has its typical length over these texts"}.get(variant["scale"])
    return {
        "post-processing": f"fitted on {variant['fitted_texts']:,} unlabelled texts" + (f"; {scale}" if scale else "")
    }


def licence(found: Mapping) -> str:
    """In words: the base's own, or that it is unknown."""
    if not found:
        return "unknown: the base model's card names none; ask its authors"
    named = escaped(found.get("license_name") or found.get("license") or "")
    link = f", {escaped(found['license_link'])}" if "license_link" in found else ""
    return f"{named}{link} (the base model's; its terms bind this model too)"


def by_roles(card: Card) -> bool:
    """Whether queries and documents have prompts of their own."""
    return not isinstance(card.variant["template"], str)


def loading(card: Card) -> str:
    calls = ['vectors = model.encode(["a text", "another text"])']
    if by_roles(card):
        calls = [
            'queries = model.encode_query(["what is looked for"])',
            'documents = model.encode_document(["a text", "another text"])  # as model.encode does',
            "cosines = model.similarity(queries, documents)",
        ]
    code_block = (
        "from sentence_transformers import SentenceTransformer\n\n"
        f"model = SentenceTransformer({json.dumps(card.name, ensure_ascii=False)})  # this directory, or its hub id\n"
        + "\n".join(calls)
    )
    parts = card.variant.get("parts", ())
    newest = card.variant["pooling"] == "concat" or len(parts) > 0 or by_roles(card)
    least = "6" if newest else "5.1 (which strips white space round a text; 6 does not)"
    lines = [fenced(code_block, "python"), f"It needs sentence-transformers {least} or newer, and no code of its own."]
    if not card.variant.get("causal", True):
        lines.append(
            "Its config says `is_causal: false`. transformers 5.23 follows that. One that does not would give other "
            "vectors without a word."
        )
    if not card.merged:
        lines.append(
            "It also needs peft, and the base model, which is not in here: `adapter_config.json` names it "
            + ("by its hub id." if card.base["hub"] else "by the path it had; change it there if the base moves.")
        )
        if card.base["hub"] and card.base["revision"]:
            lines.append(
                f"sentence-transformers takes the base's newest revision; the adapter was made on and checked with "
                f"{code(card.base['revision'])}."
            )
    if not card.merged or card.dtype != "float32":
        lines.append(
            "Loaded like this it computes in the type of its saved weights, which may be bfloat16. For float32: "
            '`SentenceTransformer(..., model_kwargs={"dtype": "float32"})`.'
        )
    if (
        card.variant["layer"] != -1
        or card.variant["pooling"] == "concat"
        or parts
        or card.variant["pooling"] in ("weighted", "max")
    ):
        lines.append("vLLM does not know this pooling, and would pool something else without a word.")
    if by_roles(card):
        lines.append(
            "A program that does not read the Router in `modules.json` (vLLM is one) embeds every text as a document, "
            "queries too, without a word."
        )
    return "\n\n".join(lines)


def limits(card: Card) -> str:
    variant = card.variant
    if by_roles(card):
        first = (
            "`encode_query` and `encode_document` put these prompts round a text by themselves; give texts alone, and "
            "no `prompt=`.\n\n"
            + "\n\n".join(f"A {role}:\n\n{fenced(variant['template'][role], 'text')}" for role in ROLES)
        )
    elif variant["template"] == "{text}":
        first = "A text is embedded as it is, without a prompt."
    else:
        first = (
            "The tokenizer puts this prompt round every text by itself; give texts alone, and no `prompt=`:\n\n"
            + fenced(variant["template"], "text")
        )
    return (
        f"{first}\n\nA text is cut at {variant['max_text_tokens']} tokens; the prompt never is. The scores below are "
        f"all that was measured. They say nothing of {unmeasured(card)}." + chunk_notes(variant)
    )


def unmeasured(card: Card) -> str:
    """What the scores do not cover. Retrieval, which readers ask for most, is named if no task covers it."""
    if card.scores.empty:
        return "this variant"
    retrieval = any("Retrieval" in kind for kind in card.tasks.values())
    return f"other kinds of tasks{'' if retrieval else ' (retrieval is one)'}, other languages or longer texts"


def kinds_of(tasks: Mapping[str, str]) -> str:
    """How many tasks there are of each type, in words: `clustering (2 tasks), STS (1 task)`."""
    counts = Counter(tasks.values())
    words = {kind: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind) for kind in counts}
    return ", ".join(
        f"{words[kind] if kind.isupper() else words[kind].lower()} ({count} task{'s' * (count > 1)})"
        for kind, count in sorted(counts.items())
    )


def scored(card: Card) -> str:
    scores = card.scores
    if scores.empty:
        return "This variant was not among those that its run scored."

    def points(value: float, sign: bool) -> str:
        return f"{100 * value:{'+' if sign else ''}.1f}"

    rows = [
        f"| {cell(escaped(row.what))} | {points(row.score, row.difference)} | "
        f"{points(row.low, row.difference)} to {points(row.high, row.difference)} |"
        for row in scores.itertuples()
    ]
    return (
        f"The {card.measure} x 100, as MTEB computes it, of {kinds_of(card.tasks)}, with 95 % intervals; the mean over "
        "tasks where no task is named.\n\n| | score | interval |\n| --- | --- | --- |\n"
        + "\n".join(rows)
        + f"\n\n{how_sure(card)}"
        + "".join(f"\n\n{' '.join(lines)}" for lines in [synthetic_notes(card.tasks)] if lines)
    )


def how_sure(card: Card) -> str:
    """What the intervals are over, what is taken as given, and what a choice by these scores would cost."""
    given = "the tasks"
    if card.recipe is not None:
        seed = card.recipe.get("seed")
        given += " and this training" + (f" (seed {seed})" if seed is not None else "")
    return (
        f"The intervals show how far a score would move with other documents of the same tasks; {given} are taken as "
        "given. The study's config named this variant, so they are plain intervals. If it was named because it scored "
        "highest, its score looks a little too good: the rows `best ...` of the study's summary.txt have intervals "
        "that hold for all candidates at once (max-T)."
    )


def data(card: Card) -> str:
    if not card.data and {"path", "mean_of"} & set(card.recipe or ()):
        if "path" in card.recipe:
            return f"Not known: others trained the adapter, {code(card.recipe['path'])}."
        return f"Those of its members: the adapter is the mean of {', '.join(map(code, card.recipe['mean_of']))}."
    if not card.data:
        return "None: the base model was not tuned."
    rows = [
        f"| {cell(code(row['set']))} | {cell(code(row['corpus']))} | {cell(escaped(row['style']))} | {row['count']:,} |"
        for row in card.data
    ]
    return "Positive pairs.\n\n| set | corpus | style | pairs |\n| --- | --- | --- | --- |\n" + "\n".join(rows)


def recipe_section(card: Card) -> str:
    if card.recipe is None:
        return "None: the base model was not tuned."
    return fenced(yaml.safe_dump(dict(card.recipe), sort_keys=True, allow_unicode=True).rstrip(), "yaml")
