"""Pair styles: their names, and the wording of those that a language model writes."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import yaml

STYLES_FILE = files(__package__) / "styles.yaml"
# Derived from the text alone, without a language model (promptpool.pairs.augmentation).
TEXT_STYLES = ("halves", "identity", "dataset", "word-deletion", "word-swap", "character-noise")
# Always the same, so retries are useless.
FIXED_STYLES = frozenset({"halves", "identity", "dataset"})
# Close to their text on purpose, so the echo filter does not apply.
ECHOING_STYLES = frozenset({"identity", "word-deletion", "word-swap", "character-noise"})


WORDINGS = ("chat", "turns", "plain")
A_QUERY = "query"  # what a style may write instead of a positive


@cache
def shipped_styles() -> dict[str, dict]:
    """The language-model styles in styles.yaml: name -> {kind: wording}, and `writes` for a query; kinds: WORDINGS."""
    return yaml.safe_load(STYLES_FILE.read_text(encoding="utf-8"))


def known_styles(own: Mapping[str, Mapping]) -> dict[str, dict]:
    """Every style that a language model can be asked for: shipped ones, and a study's own, which may reword them.

    A reworded style writes what the shipped one writes, unless it says otherwise.
    """
    known = {name: dict(wording) for name, wording in shipped_styles().items()}
    for name, wording in own.items():
        writes = wording.get("writes") or known.get(name, {}).get("writes")
        known[name] = {kind: wording[kind] for kind in WORDINGS if kind in wording}
        if writes == A_QUERY:
            known[name]["writes"] = A_QUERY
    return known


def writes_query(wording: Mapping) -> bool:
    """Whether a style's answer is a query, so that it is the pair's text, and the text that it was asked for the
    positive.
    """
    return wording.get("writes") == A_QUERY


def query_styles(names: Sequence[str], own: Mapping[str, Mapping]) -> list[str]:
    """Those of the named styles that write queries, in their order."""
    known = known_styles(own)
    return [name for name in names if writes_query(known.get(name, {}))]


def needs_chat(wording: Mapping) -> bool:
    """Whether a style uses the model's chat template. `plain` styles are continued as text."""
    return "plain" not in wording


def turns(wording: Mapping) -> list[str]:
    """A style's instructions in order. Each gets the previous answer as its {text}."""
    return list(wording["turns"]) if "turns" in wording else [wording.get("chat") or wording["plain"]]


def worded(names: Sequence[str], own: Mapping[str, Mapping], placeholders: Mapping[str, str]) -> dict[str, dict]:
    """The wording of the named language-model styles, with `{language}` and the like filled in; {text} stays.

    placeholders: name -> its value. Names of TEXT_STYLES are skipped.
    """

    def fill(template: str) -> str:
        for name, value in placeholders.items():
            template = template.replace("{" + name + "}", value)
        return template

    known = known_styles(own)
    return {
        name: {
            kind: [fill(turn) for turn in value] if isinstance(value, list) else fill(value)
            for kind, value in known[name].items()
        }
        for name in names
        if name not in TEXT_STYLES
    }
