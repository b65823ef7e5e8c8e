"""What went into an exported model: its base, adapter and training texts, at which commits, under which licences."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..artifacts.files import RECORDED_PACKAGES, file_digest, package_versions, sidecar_path
from ..hub.snapshots import looks_local
from ..text.language import common_languages
from .base_licence import base_licence, package_licence

LOOKED_AT = 500  # of a corpus whose language is looked at, evenly spaced


def materials(name: str, base: Mapping, variant: Mapping, adapter: str | None, training) -> dict:
    """The part of contents.json beside its files: name, made_from, made_with.

    base: as the card names it; variant: promptpool.json; adapter: its directory; training: see export_model.Training.
    """
    recipe = training.recipe or {}
    tuned = None
    if adapter:
        weights = file_digest(Path(adapter) / "adapter_model.safetensors")
        tuned = {"name": variant["adapter"], "step": variant["step"], "sha256": weights}
    if tuned and recipe.get("path"):
        path, revision = recipe["path"], recipe.get("revision")
        tuned |= {"taken_from": _public(path), "commit": revision, "licence": base_licence(path, revision)}
    origin = {"commit" if base["hub"] else "sha256": base["revision"]}
    return {
        "name": name,
        "made_from": {
            "base_model": {"id": base["id"], "hub": base["hub"], **origin, "licence": dict(base["licence"])},
            "adapter": tuned,
            "pairs": [
                {"name": pairs, "corpus": spec.get("corpus"), "written_by": _public(spec.get("model"))}
                for pairs, spec in training.pairs.items()
            ],
            "corpora": [corpus_facts(path) for path in training.corpora],
        },
        "made_with": {
            "promptpool": package_versions(["promptpool"])["promptpool"],
            **package_versions(RECORDED_PACKAGES),
        },
    }


def corpus_facts(path: str) -> dict:
    """One corpus, as its sidecar records it: its source and commits or versions, its licences, its languages."""
    known = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    spec, texts = known["spec"], pd.read_parquet(path, columns=["text"])["text"]
    places = np.unique(np.linspace(0, len(texts) - 1, LOOKED_AT).round().astype(int)) if len(texts) else []
    facts = {
        "name": Path(path).stem,
        "source": spec["source"],
        "texts": len(texts),
        "sha256": known["digest"],
        "languages": common_languages([texts.iloc[place] for place in places]),
    }
    if spec["source"] == "docstrings":
        versions = known["versions"]
        licences = {package: package_licence(package, version) for package, version in versions.items()}
        return facts | {"versions": versions, "licences": licences}
    if known.get("hub"):
        licences = {repo: licence_name(base_licence(repo, commit, "dataset")) for repo, commit in known["hub"].items()}
        return facts | {"commits": known["hub"], "licences": licences}
    return facts | {"files": {Path(file).name: digest for file, digest in known["inputs"].items()}}


def licence_name(found: Mapping) -> str | None:
    """The name of a licence that a card gives: its own where `license` is only `other`."""
    return found.get("license_name") or found.get("license") or None


def datasets_of(corpora: Sequence[Mapping]) -> list[str]:
    """The hub's data sets among the corpora, as a card lists them."""
    return sorted({repo for corpus in corpora for repo in corpus.get("commits", ())})


def languages_of(corpora: Sequence[Mapping]) -> list[str]:
    """The languages of the corpora, as a card lists them."""
    return sorted({language for corpus in corpora for language in corpus["languages"]})


def _public(path: str | None) -> str | None:
    """A model's or file's name without the directories of this machine."""
    return Path(path).name if path and looks_local(path) else path
