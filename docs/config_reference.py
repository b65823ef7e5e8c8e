"""Writes docs/reference/config.md from the schema of a study's configuration: `make reference`."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow/promptpool/config/config.schema.yaml"
PAGE = ROOT / "docs/reference/config.md"
HEAD = """# Every key of a study's configuration

This page is generated from `{schema}` by `make reference`. Do not edit it here.

A *required* key has no default. `<name>` stands for a name that you choose. Each table shows the keys of one section.
"""
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}


def merged(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The node with what its $ref names; the node's own words win."""
    if "$ref" not in node:
        return node
    return {**merged(defs[node["$ref"].rsplit("/", 1)[1]], defs), **{key: node[key] for key in node if key != "$ref"}}


def shown(value: object) -> str:
    """A value as YAML writes it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")


def kind(node: dict[str, Any], defs: dict[str, Any]) -> str:
    """What a key may hold: its choices, or its type and bounds."""
    if "const" in node:
        return f"`{shown(node['const'])}`"
    if "enum" in node:
        return ", ".join(f"`{shown(value)}`" for value in node["enum"])
    types = node.get("type", "any")
    names = [str(name) for name in ([types] if isinstance(types, str) else types)]
    text = " or ".join("mapping" if name == "object" else "list" if name == "array" else name for name in names)
    if "array" in names and isinstance(items := node.get("items"), dict):
        text = text.replace("list", f"list of {kind(merged(items, defs), defs)}")
    bounds = [words.format(node[key]) for key, words in BOUNDS.items() if key in node]
    return ", ".join([text, *bounds])


def alternatives(node: dict[str, Any], defs: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The sections that `source` or `kind` chooses between, each with the words that say when it holds."""
    found = []
    for part in node.get("allOf", []):
        key, value = next(iter(part["if"]["properties"].items()))
        found.append((f"with `{key}: {value['const']}`", merged(part["then"], defs)))
    return found


def sections(path: str, node: dict[str, Any], defs: dict[str, Any]) -> list[str]:
    """A heading and a table for this mapping, then those of the mappings inside it."""
    choices = alternatives(node, defs)
    if choices:
        return [part for words, choice in choices for part in sections(f"{path}, {words}", choice, defs)]
    required, inner, rows = node.get("required", []), [], []
    for name, raw in node.get("properties", {}).items():
        part = merged(raw, defs)
        default = "*required*" if name in required else f"`{shown(part['default'])}`" if "default" in part else ""
        words = " ".join(part.get("description", "").split()).replace("|", "\\|").replace("<", "\\<")
        rows.append(f"| `{name}` | {kind(part, defs)} | {default} | {words} |")
        below = path.split(",")[0].strip("`")
        inside = f"{below}.{name}" if below else name
        entries = part.get("additionalProperties")
        if isinstance(entries, dict) and "propertyNames" in part and part.get("properties") is None:
            entry = merged(entries, defs)
            if entry.get("type") == "object":
                inner += sections(f"`{inside}.<name>`", entry, defs)
        elif "properties" in part or "allOf" in part:
            inner += sections(f"`{inside}`", part, defs)
    if not rows:
        return inner
    words = " ".join(node.get("description", "").split())
    table = "\n".join(["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows])
    return [f"## {path or 'Top level'}\n", *([f"{words}\n"] if words else []), f"{table}\n", *inner]


def page() -> str:
    """The whole page as Markdown."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return "\n".join([HEAD.format(schema=SCHEMA.relative_to(ROOT)), *sections("", schema, schema["$defs"])])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
