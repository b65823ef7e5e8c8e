"""A study as commented YAML, short enough to read before it runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.files import atomic_path
from .study_defaults import Value

SCHEMA_COPY = "resources/config.schema.yaml"
_WIDTH = 60  # where comments begin, if the value is shorter


@dataclass(frozen=True)
class StudySource:
    """A file of the study: its column of texts, what was seen in it, and its column of labels."""

    path: str
    text: str
    seen: str
    label: str | None = None


@dataclass(frozen=True)
class Draft:
    """What a study is written from.

    model: `name` (here), `path` and `revision`; corpora, tasks: by name, what is learnt from and what is scored on;
    styles, training, length: as study_defaults gives them.
    """

    run: str
    model: Mapping[str, object]
    model_note: str
    corpora: Mapping[str, StudySource]
    tasks: Mapping[str, StudySource]
    styles: Value
    training: Mapping[str, Value]
    length: Value


def study_text(draft: Draft) -> str:
    """The YAML of a study."""
    name = str(draft.model["name"])
    steps = draft.training["steps"].value
    last = f"tuned@{max(steps)}"
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_COPY}",
        "# Written by `promptpool init`. An editor completes and checks it; `promptpool plan` says what it costs,",
        "# `promptpool run` runs it. Every key: docs/reference/config.md.",
        f"run: {_text(draft.run)}",
        "",
        "models:",
        *_commented(f"  {_text(name)}: {_flow(draft.model, ('path', 'revision'))}", draft.model_note),
        "",
        "corpora:  # texts to learn from; they need no labels",
    ]
    for corpus, one in draft.corpora.items():
        spec = {"source": "file", "path": one.path, "column": one.text}
        lines += [f"  # {one.seen}", f"  {_text(corpus)}: {_flow(spec)}"]
    if draft.tasks:
        lines += ["", "tasks:  # labelled texts to be scored on: do texts of one label lie together?"]
    for task, one in draft.tasks.items():
        spec = {"source": "file", "path": one.path, "text": one.text, "label": one.label}
        lines += [f"  # {one.seen}", f"  {_text(task)}: {_flow(spec)}"]
    lines += ["", "pairs:  # a text, and another that means the same"]
    lines += [f"  # {draft.styles.why}"]
    lines += [
        f"  {_text(one)}: {{corpus: {_text(one)}, styles: {json.dumps(draft.styles.value)}}}" for one in draft.corpora
    ]
    lines += ["", "adapters:", "  tuned:", f"    model: {_text(name)}",
              f"    pairs: [{', '.join(map(_text, draft.corpora))}]", "    prompt: cluster",
              "    pooling: last"]  # fmt: skip
    for key, one in draft.training.items():
        lines += _commented(f"    {key}: {_value(one.value)}", one.why)
    lines += [
        "",
        "prompts:  # the prompts that are compared; {text} is the text",
        '  none: "{text}"',
        "  cluster: 'This sentence: \"{text}\" belongs to the following cluster:'",
        "",
        "grid:  # every combination is embedded and scored, tuned and untuned",
        f"  models: [{_text(name)}]",
        "  prompts: [none, cluster]",
        "  poolings: [mean, last]",
        *_commented(f"  max_text_tokens: {draft.length.value}", draft.length.why),
        "",
    ]
    if draft.tasks:
        lines += [
            "baselines:  # what every score must beat",
            "  random: {kind: random}",
            "  tfidf-svd: {kind: tfidf-svd, dim: 64}",
            "",
            "ablations:",
            "  tuning:",
            "    question: How much does tuning add?",
            "    vary: adapter",
            "    baseline: base",
            f"    fixed: {{model: {_text(name)}, prompt: cluster, pooling: last, layer: -1}}",
            "",
        ]
    lines += [
        "exports:  # the model directory that sentence-transformers loads, in results/<run>/models/",
        f"  {_text(draft.run)}: {{model: {_text(name)}, adapter: {last}, prompt: cluster, pooling: last}}",
    ]
    return "\n".join(lines) + "\n"


def _commented(line: str, why: str) -> list[str]:
    return [f"{line.ljust(_WIDTH)}  # {why}" if why else line]


def _flow(spec: Mapping[str, object], keys: tuple[str, ...] | None = None) -> str:
    chosen = {key: spec[key] for key in keys or spec if spec.get(key) is not None}
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in chosen.items()) + "}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return _flow(value)
    if isinstance(value, float) and 0 < value < 0.01:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return json.dumps(value)


def _text(value: str) -> str:
    """A text that YAML reads back as this text."""
    plain = (
        value.replace("-", "").replace("_", "").replace(".", "").replace("/", "").isalnum() and not value[0].isdigit()
    )
    words = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "none", "nan", "inf"}
    return value if plain and value.isascii() and value.lower() not in words else json.dumps(value)


def write_schema(folder: Path) -> None:
    """Puts the schema beside the study, so that an editor finds it without a network and without this package."""
    from ..config.schema import SCHEMA

    place = folder / SCHEMA_COPY
    with atomic_path(place) as temporary:
        temporary.write_text(SCHEMA.read_text(encoding="utf-8"), encoding="utf-8")
