"""What a card says about the licence of a base model, a data set or an adapter, and what a package says of its own."""

from importlib import metadata
from pathlib import Path

import yaml
from huggingface_hub import metadata_load

LICENCE_KEYS = ("license", "license_name", "license_link")
LONGEST = 100  # characters: some packages put the licence's whole text where its name belongs


def base_licence(model: str, revision: str | None = None, repo_type: str = "model") -> dict[str, str]:
    """The licence in the form of hub cards: `license`, and `license_name`, `license_link` if given. {} if unknown.

    model: a directory or a hub id, whose README.md is read (offline: only if it is in the cache).
    """
    try:
        path = Path(model) / "README.md" if Path(model).is_dir() else _from_hub(model, revision, repo_type)
        facts = (path and metadata_load(path)) or {}
    except (OSError, ValueError, yaml.YAMLError):  # no text, or no YAML, or no mapping
        return {}
    return {key: str(facts[key]) for key in LICENCE_KEYS if isinstance(facts.get(key), str) and facts[key].strip()}


def package_licence(name: str, version: str) -> str | None:
    """The licence of an installed package as its metadata names it; None if unknown, or if another version is here.

    name: of its import. What no distribution owns is Python's own library.
    """
    owner = metadata.packages_distributions().get(name)
    if not owner:
        return "PSF-2.0"
    about = metadata.metadata(owner[0])
    if about["Version"] != version:
        return None
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if "License ::" in line]
    found = about["License-Expression"] or ", ".join(classified) or (about["License"] or "").strip()
    return found if found and len(found) <= LONGEST and "\n" not in found and found.lower() != "unknown" else None


def _from_hub(model: str, revision: str | None, repo_type: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(model, "README.md", revision=revision, repo_type=repo_type))
    except (HfHubHTTPError, HFValidationError, OSError):
        return None  # a missing card is no reason to fail
