"""Whether the licences of what went into an export let it be shared. A reading of names, not legal advice."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .materials import licence_name

PERMITS, TERMS, FORBIDS, UNKNOWN, YOURS = "permits", "permits, with terms", "forbids", "unknown", "yours"
# Names as the hub's cards and packages' metadata write them. "No derivatives" is the one that forbids a tuned model.
NO_DERIVATIVES = re.compile(r"\bcc-by(-nc)?-nd\b", re.I)
WITH_TERMS = re.compile(
    r"^(a?gpl|lgpl|mpl|epl|eupl|osl|cc-by-(nc|sa)|odbl|c-uda|cdla-sharing|gfdl|llama[0-9.]*$|gemma$|"
    r"(big\w+-|creativeml-)?open-?rail|deepfloyd|apple-a\w+)", re.I
)  # fmt: skip
OPEN = re.compile(
    r"^(apache|mit\b|bsd|0bsd|isc\b|zlib|unlicense|wtfpl|cc0|cc-by-[0-9]|pddl|odc-by|cdla-permissive|ms-pl|psf|python|"
    r"artistic|bsl-1|boost|ncsa|ofl|postgresql|afl|ecl|hpnd|mit-cmu|lppl|openmdw)", re.I
)  # fmt: skip
OPEN_PACKAGE = re.compile(
    r"\b(apache|mit|0?bsd|isc|zlib|unlicense|cc0|psf|python|hpnd|mpl|mozilla|l?gpl|public domain)\b", re.I
)


@dataclass(frozen=True)
class Verdict:
    """What one licence says. what: of which material; licence: its name, None if it states none."""

    what: str
    licence: str | None
    says: str

    @property
    def stops(self) -> bool:
        return self.says in (FORBIDS, UNKNOWN)

    def __str__(self) -> str:
        return f"{self.what}: {self.licence or 'no licence stated'}: {self.says}"


def verdicts(contents: Mapping) -> list[Verdict]:
    """One for the base model, the adapter if others trained it, and each data set. contents: contents.json."""
    made = contents["made_from"]
    base = made["base_model"]
    found = [_verdict(f"base model {base['id']}", licence_name(base["licence"]))]
    adapter = made["adapter"] or {}
    if "taken_from" in adapter:
        found.append(_verdict(f"adapter {adapter['taken_from']}", licence_name(adapter["licence"])))
    for corpus in made["corpora"]:
        found += _of_corpus(corpus)
    return found


def _of_corpus(corpus: Mapping) -> Iterator[Verdict]:
    if corpus["source"] == "docstrings":
        for package, licence in corpus["licences"].items():
            says = PERMITS if licence and OPEN_PACKAGE.search(licence) else UNKNOWN
            yield Verdict(f"corpus {corpus['name']}, package {package}", licence, says)
    elif "licences" in corpus:
        for repo, licence in corpus["licences"].items():
            yield _verdict(f"corpus {corpus['name']}, data set {repo}", licence)
    else:
        yield Verdict(f"corpus {corpus['name']}, your file", None, YOURS)


def _verdict(what: str, licence: str | None) -> Verdict:
    name = licence or ""
    for says, shape in ((FORBIDS, NO_DERIVATIVES), (TERMS, WITH_TERMS), (PERMITS, OPEN)):
        if shape.search(name):
            return Verdict(what, licence, says)
    return Verdict(what, licence, UNKNOWN)
