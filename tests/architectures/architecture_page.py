"""docs/reference/architectures.md, from what the sweep found."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reference/architectures.md"
HEAD = """# Which architectures work

`make test-architectures` writes this page. Do not edit it here. It takes every causal-LM architecture of transformers
{version} through the stages of a study: load, embed, tune by one step, and export. It does the same with models that
also see images. Each model is tiny and of random weights. Its vectors are compared with plain passes of the model, and
those of its export with the pipeline's.

{counts}

- *one pass*: all prompts that share a prefix take one forward pass ([how](../explanation/one-pass.md)).
- *separate passes*: each prompt takes a pass of its own. The vectors are right, and cost more time.
- *refused*: one line says why. A study whose model lies on this machine is refused before its first job.
- *not built*: no tiny model of it could be made, so nothing is known. The reason is what transformers answered.
- *`layers: [-1]` alone*: its layers hand on several states for each token, so only the last one can be read.
- *no export*: transformers cannot load its text decoder by itself.
- *both ways*: with `models.<name>.causal: false` every layer sees the whole text. A model with a sliding window is
  refused all the same.

The last column lists the layers that the default of `lora.target_modules` adapts, or the reason of a refusal.
"""
TEXT = "## Causal LMs\n"
SEEING = """## Models that also see images

The text decoder is used, and nothing else. It is found by its part of the config. An export holds the text decoder
alone.
"""


def counts(rows: Mapping[str, Mapping]) -> str:
    found = Counter(row["result"] for row in rows.values())
    return ", ".join(
        f"{found[key]} {key}" for key in ("one pass", "separate passes", "refused", "not built", "traceback")
    )


def table(rows: Mapping[str, Mapping]) -> str:
    lines = ["| architecture | result | tunes, or the reason |", "| --- | --- | --- |"]
    for kind, row in rows.items():
        result = "; ".join([row["result"], *row.get("notes", [])])
        words = ", ".join(f"`{name}`" for name in row["tunes"]) if "tunes" in row else f"`{short(row['reason'])}`"
        lines.append(f"| `{kind}` | {result} | {words} |")
    return "\n".join(lines) + "\n"


def short(reason: str) -> str:
    text = reason.removeprefix("MODEL: ").replace("|", "/").replace("`", "'")
    return text if len(text) <= 160 else text[:159] + "…"


def page(found: Mapping) -> str:
    parts = {"Causal LMs": found["text"], "Models that also see": found["seeing"]}
    lines = "\n".join(f"{name}: {counts(rows)}.\n" for name, rows in parts.items())
    head = HEAD.format(version=found["transformers"], counts=lines.strip())
    return "\n".join([head, TEXT, table(found["text"]), SEEING, table(found["seeing"])])


def write(found: Mapping) -> None:
    PAGE.write_text(page(found), encoding="utf-8")
